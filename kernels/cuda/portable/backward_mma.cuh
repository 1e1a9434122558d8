// SPDX-License-Identifier: Apache-2.0 OR MIT
// The backward's products on tensor cores of sm_80 and newer. S and dP have rows in fragments of
// rows, so that the features are the forward's; P and dS pass through shared memory, from where
// each warp takes them for a part of dK, dV and dQ of its own: 32 x 32 or 32 x 64 a warp, since
// what a product reads of shared memory is what limits it.
#pragma once
#include "../kit/tile_load.cuh"
#include "backward.cuh"
#include "forward.cuh"

namespace rapt::kernels {

template <BackwardConfig C>
struct MmaProducts {
  static constexpr int kThreads = 32 * kBackwardWarps;
  static constexpr int kRowFrags = C.block_q / C.warps_q / 16;
  static constexpr int kWarpKeys = C.block_kv / C.warps_kv;
  static constexpr int kColumnParts = C.warps_kv;
  static constexpr ForwardConfig F = forward_config(C, kRowFrags, kWarpKeys);

  // Of dK and dV: key fragments and columns of a warp; of dQ: row fragments and columns.
  static constexpr int kKeyFrags = C.block_kv / C.key_warps / 16;
  static constexpr int kColumnWarps = kBackwardWarps / C.key_warps;
  static constexpr int kKColumns = C.head_dim / kColumnWarps;
  static constexpr int kVColumns = C.value_dim / kColumnWarps;
  static constexpr int kQueryFrags = C.block_q / C.row_warps / 16;
  static constexpr int kQColumns = C.head_dim / (kBackwardWarps / C.row_warps);

  static constexpr int kQPitch = row_pitch(C.head_dim), kVPitch = row_pitch(C.value_dim);
  static constexpr int kWPitch = row_pitch(C.block_kv);
  static constexpr int kKBytes = C.block_kv * kQPitch * 2, kVBytes = C.block_kv * kVPitch * 2;
  static constexpr int kQBytes = C.block_q * kQPitch * 2, kDOutBytes = C.block_q * kVPitch * 2;
  static constexpr int kWeightBytes = C.block_q * kWPitch * 2;

  // The forward's accumulators, of this warp's keys.
  struct Layout : MmaLayout<F> {
    using Warp = MmaLayout<F>;
    static __device__ __forceinline__ int lane_key() {
      return Warp::lane_key() + column_part() * kWarpKeys;
    }
    static __device__ __forceinline__ int key(int c) { return lane_key() + Warp::key_offset(c); }
  };
  using QuerySums = float[2 * kQueryFrags][kQColumns / 4];

  unsigned char* tiles;  // K, V, P, dS, then the stages of Q and dO
  u32 base;

  float dk[2 * kKeyFrags][kKColumns / 4];
  float dv[2 * kKeyFrags][kVColumns / 4];

  __device__ __forceinline__ explicit MmaProducts(unsigned char* shared)
      : tiles(shared), base(ptx::shared_address(shared)) {}

  static __device__ __forceinline__ int warp() { return threadIdx.x / 32; }
  static __device__ __forceinline__ int column_part() { return warp() % C.warps_kv; }
  static __device__ __forceinline__ int first_row() { return warp() / C.warps_kv * kRowFrags * 16; }
  static __device__ __forceinline__ int local_row(int r) {
    return first_row() + MmaLayout<F>::row(r);
  }
  // Small tiles leave warps without scores.
  static __device__ __forceinline__ bool multiplies() {
    return C.warps_q * C.warps_kv == kBackwardWarps || warp() < C.warps_q * C.warps_kv;
  }

  __device__ __forceinline__ u32 k_tile() const { return base; }
  __device__ __forceinline__ u32 v_tile() const { return base + kKBytes; }
  static constexpr int kPAt = kKBytes + kVBytes;
  static constexpr int kRowsAt = kPAt + 2 * kWeightBytes;
  static constexpr int kBytes = kRowsAt + C.stages * (kQBytes + kDOutBytes);
  __device__ __forceinline__ u32 p_tile() const { return base + kPAt; }
  __device__ __forceinline__ u32 ds_tile() const { return base + kPAt + kWeightBytes; }
  __device__ __forceinline__ u32 q_tile(int stage) const {
    return base + kRowsAt + stage * (kQBytes + kDOutBytes);
  }
  __device__ __forceinline__ u32 d_out_tile(int stage) const { return q_tile(stage) + kQBytes; }
  __device__ __forceinline__ float* scratch() const { return reinterpret_cast<float*>(tiles); }

  // ---- loading

  // Row i of a tile from row_of(i), zeros where that is null and behind the row's end.
  template <int rows, int columns, class RowOf>
  static __device__ __forceinline__ void load(u32 tile, int dim, RowOf row_of) {
    constexpr int kChunks = columns / 8;
    for (int i = threadIdx.x; i < rows * kChunks; i += kThreads) {
      const int row = i / kChunks, chunk = i % kChunks;
      const u16* from = row_of(row);
      const bool valid = from != nullptr && chunk * 8 < dim;
      const u32 to = tile + chunk_offset<row_pitch(columns)>(row, chunk);
      if constexpr (C.aligned) {
        ptx::cp_async_16(to, from + (valid ? chunk * 8 : 0), valid ? 16 : 0);
      } else {
        store_chunk(to, [&](int j) { return valid ? from[chunk * 8 + j] : u16(0); });
      }
    }
  }

  template <class KRow, class VRow>
  __device__ __forceinline__ void load_keys(const ForwardParams& p, KRow k_row, VRow v_row) const {
    load<C.block_kv, C.head_dim>(k_tile(), p.head_dim, k_row);
    load<C.block_kv, C.value_dim>(v_tile(), p.value_dim, v_row);
  }

  template <class QRow, class DOutRow>
  __device__ __forceinline__ void load_rows(const ForwardParams& p, int stage, QRow q_row,
                                            DOutRow d_out_row) const {
    load<C.block_q, C.head_dim>(q_tile(stage), p.head_dim, q_row);
    load<C.block_q, C.value_dim>(d_out_tile(stage), p.value_dim, d_out_row);
  }

  __device__ __forceinline__ void arrive() const {
    ptx::cp_async_wait_all();
    __syncthreads();
  }

  // ---- products

  // x += A B over 16 * steps; operands by rows of what is summed over (turned) or across it.
  // Columns of turned operands begin at 16 * first.
  template <int steps, bool a_turned, bool b_turned, int R, int N, int PA, int PB>
  static __device__ __forceinline__ void multiply(float (&x)[R][N], const LaneRow<PA>& a,
                                                  int a_first, const LaneRow<PB>& b, int b_first,
                                                  bool adds) {
    constexpr int kFrags = R / 2;
#pragma unroll
    for (int k = 0; k < steps; ++k) {
      u32 fragments[kFrags][4];
#pragma unroll
      for (int f = 0; f < kFrags; ++f) {
        if constexpr (a_turned) {
          ptx::ldmatrix_x4_trans(fragments[f], a.address(a_first + f, 16 * k));
        } else {
          ptx::ldmatrix_x4(fragments[f], a.address(k, 16 * f));
        }
      }
#pragma unroll
      for (int n = 0; n < N / 4; ++n) {
        u32 pair[4];
        if constexpr (b_turned) {
          ptx::ldmatrix_x4_trans(pair, b.address(b_first + n, 16 * k));
        } else {
          ptx::ldmatrix_x4(pair, b.address(k, 16 * n));
        }
#pragma unroll
        for (int f = 0; f < kFrags; ++f) {
          const bool on_top = adds || k > 0;
          add_eight(x, f, 4 * n, fragments[f], pair[0], pair[1], on_top);
          add_eight(x, f, 4 * n + 2, fragments[f], pair[2], pair[3], on_top);
        }
      }
    }
  }

  // Eight columns of fragment f, on top of what they hold or of nothing.
  template <int R, int N>
  static __device__ __forceinline__ void add_eight(float (&x)[R][N], int f, int c,
                                                   const u32 (&a)[4], u32 b0, u32 b1, bool on_top) {
    float *top = x[2 * f] + c, *bottom = x[2 * f + 1] + c, after[4];
    const float before[4] = {on_top ? top[0] : 0.0f, on_top ? top[1] : 0.0f,
                             on_top ? bottom[0] : 0.0f, on_top ? bottom[1] : 0.0f};
    ptx::mma_m16n8k16<C.element>(after, a, b0, b1, before);
    top[0] = after[0];
    top[1] = after[1];
    bottom[0] = after[2];
    bottom[1] = after[3];
  }

  // A lane's row of an operand, as ldmatrix wants it. Across: rows are rows of the product. Turned:
  // rows are what is summed over; keys of B, which are its columns, come in the order of A turned.
  template <int pitch>
  static __device__ __forceinline__ LaneRow<pitch> low_row(u32 tile, int first) {
    const int lane = threadIdx.x & 31;
    return {tile, first + lane % 16, lane / 16};
  }
  template <int pitch>
  static __device__ __forceinline__ LaneRow<pitch> high_row(u32 tile, int first) {
    const int lane = threadIdx.x & 31;
    return {tile, first + lane / 16 * 8 + lane % 8, lane / 8 % 2};
  }

  template <int R, int N>
  __device__ __forceinline__ void multiply_scores(float (&x)[R][N], int stage) const {
    multiply<C.head_dim / 16, false, false>(x, low_row<kQPitch>(q_tile(stage), first_row()), 0,
                                            high_row<kQPitch>(k_tile(), column_part() * kWarpKeys),
                                            0, false);
  }

  template <int R, int N>
  __device__ __forceinline__ void multiply_d_out(float (&y)[R][N], int stage) const {
    multiply<C.value_dim / 16, false, false>(y, low_row<kVPitch>(d_out_tile(stage), first_row()), 0,
                                             high_row<kVPitch>(v_tile(), column_part() * kWarpKeys),
                                             0, false);
  }

  // A warp's keys begin on as many chunks as it has: the swizzle is one exclusive or of all.
  template <int R, int N>
  __device__ __forceinline__ void store_weights(const float (&p)[R][N],
                                                const float (&ds)[R][N]) const {
    const int first = column_part() * kWarpKeys / 8, lane = (threadIdx.x & 3) * 4;
    const u32 at = kPAt + chunk_offset<kWPitch>(local_row(0), first) + lane;
#pragma unroll
    for (int c = 0; c < N; c += 2) {
      unsigned char* column = tiles + (at ^ (c / 2 * 16));
#pragma unroll
      for (int r = 0; r < R; ++r) {
        unsigned char* to = column + r * 8 * kWPitch * 2;
        *reinterpret_cast<u32*>(to) = pack2<C.element>(p[r][c], p[r][c + 1]);
        *reinterpret_cast<u32*>(to + kWeightBytes) = pack2<C.element>(ds[r][c], ds[r][c + 1]);
      }
    }
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int r = 0; r < 2 * kKeyFrags; ++r) {
#pragma unroll
      for (int c = 0; c < kKColumns / 4; ++c) dk[r][c] = 0.0f;
#pragma unroll
      for (int c = 0; c < kVColumns / 4; ++c) dv[r][c] = 0.0f;
    }
  }

  __device__ __forceinline__ void add_keys(int stage) {
    const int column = warp() % kColumnWarps, key = warp() / kColumnWarps * kKeyFrags;
    multiply<C.block_q / 16, true, true>(dv, high_row<kWPitch>(p_tile(), 0), key,
                                         low_row<kVPitch>(d_out_tile(stage), 0),
                                         column * (kVColumns / 16), true);
    multiply<C.block_q / 16, true, true>(dk, high_row<kWPitch>(ds_tile(), 0), key,
                                         low_row<kQPitch>(q_tile(stage), 0),
                                         column * (kKColumns / 16), true);
  }

  static constexpr int kQueryColumnWarps = kBackwardWarps / C.row_warps;

  __device__ __forceinline__ void multiply_queries(QuerySums& q) const {
    const int row = warp() / kQueryColumnWarps * kQueryFrags * 16;
    const int column = warp() % kQueryColumnWarps * (kQColumns / 16);
    multiply<C.block_kv / 16, false, true>(q, low_row<kWPitch>(ds_tile(), row), 0,
                                           low_row<kQPitch>(k_tile(), 0), column, false);
  }

  // ---- results

  // To the tile's sums, four neighbours a lane and fragment (sum_place).
  __device__ __forceinline__ void add_queries(const QuerySums& q, float* sums) const {
    const int row = warp() / kQueryColumnWarps * kQueryFrags * 16;
    const int column = warp() % kQueryColumnWarps * kQColumns;
    float* to = sums + sum_place(true, C.head_dim, row, column) + (threadIdx.x & 31) * 4;
#pragma unroll
    for (int f = 0; f < kQueryFrags; ++f) {
#pragma unroll
      for (int c = 0; c < kQColumns / 4; c += 2) {
        const float four[4] = {q[2 * f][c], q[2 * f][c + 1], q[2 * f + 1][c], q[2 * f + 1][c + 1]};
        ptx::add_to_global(to + sum_place(true, C.head_dim, 16 * f, 4 * c), four);
      }
    }
  }

  template <class WriteK, class WriteV>
  __device__ __forceinline__ void write_keys(WriteK write_k, WriteV write_v) const {
    const int column = warp() % kColumnWarps, first = warp() / kColumnWarps * kKeyFrags * 16;
    write<kKColumns>(dk, first, column * kKColumns, write_k);
    write<kVColumns>(dv, first, column * kVColumns, write_v);
  }

  template <int columns, int R, int N, class Write>
  static __device__ __forceinline__ void write(const float (&x)[R][N], int row, int column,
                                               Write write) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < N; c += 2) {
        write(row + MmaLayout<F>::row(r), column + MmaLayout<F>::col(c), x[r][c], x[r][c + 1]);
      }
    }
  }
};

template <BackwardConfig C>
using MmaBackward = Backward<C, MmaProducts<C>>;

}  // namespace rapt::kernels
