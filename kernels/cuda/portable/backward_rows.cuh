// SPDX-License-Identifier: Apache-2.0 OR MIT
// What comes before and behind a backward's products: each kernel here reads or writes rows once.
#pragma once
#include "../kit/ptx.cuh"
#include "backward_walk.cuh"

namespace rapt::kernels {

template <BackwardRowsConfig C>
struct BackwardRows {
  static constexpr int kWarps = kBackwardRowsThreads / 32;
  using Out = Number<C.out_element>;

  const BackwardParams& p;
  Sequence s;
  int kv_head;
  int first;  // row of the tile
  i64 tile;   // in the sums

  static __device__ void run(const BackwardParams& p) {
    if constexpr (C.part == RowsPart::clear) {
      clear(p);
    } else if constexpr (C.part == RowsPart::heads) {
      heads(p);
    } else {
      tiles(p);
    }
  }

  // Block x of the grid is (sequence, kv head, tile), the tile fastest.
  static __device__ void tiles(const BackwardParams& p) {
    __shared__ Sequence shared;
    const u32 most = p.most_tiles, heads = p.forward.kv_heads;
    const u32 tile = blockIdx.x % most, rest = blockIdx.x / most;
    if (threadIdx.x == 0) shared = read_sequence(p.forward, rest / heads);
    __syncthreads();
    const int kv_head = rest % heads, first = tile * C.block_q;
    const i64 place = first_tile(p, shared, kv_head, C.block_q) + tile;
    const BackwardRows self = {p, shared, kv_head, first, place};
    if constexpr (C.part == RowsPart::prepare) {
      self.prepare();
    } else {
      self.finish();
    }
  }

  __device__ __forceinline__ int rows() const { return s.q_len * p.forward.group; }

  // ---- prepare

  __device__ __forceinline__ void prepare() const {
    if (blockIdx.x == 0 && threadIdx.x == 0) *p.ticket = 0;
    if (first >= rows()) return;
    if (threadIdx.x == 0) p.turns[tile] = 0;
    const float4 zeros = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    auto* sums = reinterpret_cast<float4*>(p.dq_sums + tile * C.block_q * C.head_dim);
    for (int i = threadIdx.x; i < C.block_q * C.head_dim / 4; i += kBackwardRowsThreads) {
      sums[i] = zeros;
    }
    if (p.slope_sums != nullptr && threadIdx.x < C.block_q) {
      p.slope_sums[tile * C.block_q + threadIdx.x] = 0.0f;
    }
    if constexpr (C.fragments) {
      for (int row = threadIdx.x / 32 * 16; row < C.block_q; row += kWarps * 16) fragment(row);
    } else if (threadIdx.x < C.block_q) {
      write_stats(threadIdx.x, delta_of(first + threadIdx.x));
    }
  }

  __device__ __forceinline__ void write_stats(int local, float delta) const {
    const int row = first + local;
    RowStats stats = {kInfinity, 0.0f};
    if (row < rows()) {
      const auto* lse = static_cast<const float*>(p.forward.lse.data);
      const float x = lse[offset_of(p.forward.lse, s, place_of(p, kv_head, row))];
      if (x != -kInfinity) stats = {C.exact ? x : x * kLog2E, delta};
    }
    p.stats[tile * C.block_q + local] = stats;
  }

  template <class Bits>
  __device__ __forceinline__ const Bits* row_of(const RowsParam& from, int row) const {
    if (row >= rows()) return nullptr;
    return static_cast<const Bits*>(from.data) + offset_of(from, s, place_of(p, kv_head, row));
  }

  // By the multiply-adds that dP is summed by, in their order: where a row sees one key alone, the
  // difference of the two is then exactly 0, as it should be.
  __device__ __forceinline__ float delta_of(int row) const {
    const auto* out = row_of<typename Out::Bits>(p.forward.out, row);
    const auto* d_out = row_of<typename Out::Bits>(p.d_out, row);
    float sum = 0.0f;
    for (int d = 0; out != nullptr && d < p.forward.value_dim; ++d) {
      sum = fmaf(Out::widen(d_out[d]), Out::widen(out[d]), sum);
    }
    return sum;
  }

  // The same where dP is made by tensor cores: the diagonal of dO O^T, sixteen rows a warp.
  __device__ __forceinline__ void fragment(int row) const {
    const int lane = threadIdx.x & 31, mine = lane / 4, pair = lane % 4 * 2;
    const u16* out[2];
    const u16* d_out[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      out[i] = row_of<u16>(p.forward.out, first + row + mine + 8 * i);
      d_out[i] = row_of<u16>(p.d_out, first + row + mine + 8 * i);
    }
    float sums[2][4] = {};
#pragma unroll 4
    for (int d = 0; d < p.forward.value_dim; d += 16) {
      const u32 a[4] = {load_pair(d_out[0], d + pair), load_pair(d_out[1], d + pair),
                        load_pair(d_out[0], d + 8 + pair), load_pair(d_out[1], d + 8 + pair)};
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float before[4] = {sums[i][0], sums[i][1], sums[i][2], sums[i][3]};
        ptx::mma_m16n8k16<C.element>(sums[i], a, load_pair(out[i], d + pair),
                                     load_pair(out[i], d + 8 + pair), before);
      }
    }
    if (mine / 2 != lane % 4) return;
    write_stats(row + mine, mine % 2 ? sums[0][1] : sums[0][0]);
    write_stats(row + mine + 8, mine % 2 ? sums[1][3] : sums[1][2]);
  }

  __device__ __forceinline__ u32 load_pair(const u16* row, int d) const {
    if (row == nullptr || d >= p.forward.value_dim) return 0;
    if constexpr (C.aligned) return *reinterpret_cast<const u32*>(row + d);
    return u32(row[d]) | u32(row[d + 1]) << 16;
  }

  // ---- finish: rows of padding are zeros

  __device__ __forceinline__ void finish() const {
    const float* sums = p.dq_sums + tile * C.block_q * C.head_dim;
    constexpr int kPairs = C.head_dim / 2;
    for (int i = threadIdx.x; i < C.block_q * kPairs; i += kBackwardRowsThreads) {
      const int local = i / kPairs, col = i % kPairs * 2, row = first + local;
      if (row >= s.q_rows * p.forward.group || col >= p.forward.head_dim) continue;
      float2 x = make_float2(0.0f, 0.0f);
      if (row < rows()) {
        const int at = sum_place(C.fragments, C.head_dim, local, col);
        x = *reinterpret_cast<const float2*>(sums + at);
      }
      const i64 to = offset_of(p.dq, s, place_of(p, kv_head, row)) + col;
      store_pair<C.element, C.aligned>(p.dq, to, x.x * p.forward.scale, x.y * p.forward.scale);
    }
  }

  // ---- clear

  // All of dense dk and dv. Block x of the grid is (row of the cache, token), the token fastest.
  static __device__ void clear(const BackwardParams& p) {
    const u32 tokens = p.forward.kv_len, row = blockIdx.x / tokens, token = blockIdx.x % tokens;
    clear_token(p, p.dk, row, token, p.forward.head_dim);
    clear_token(p, p.dv, row, token, p.forward.value_dim);
  }

  static __device__ __forceinline__ void clear_token(const BackwardParams& p, const RowsParam& to,
                                                     i64 row, i64 token, int dim) {
    const i64 first = row * to.batch_stride + token * to.token_stride;
    for (int i = threadIdx.x; i < p.forward.kv_heads * (dim / 2); i += kBackwardRowsThreads) {
      const int head = i / (dim / 2), col = i % (dim / 2) * 2;
      store_pair<C.element, C.aligned>(to, first + head * to.head_stride + col, 0.0f, 0.0f);
    }
  }

  // ---- heads

  // A sink's probability is exp(sink - lse), and it has no value: d_sink = -p * delta. Block x is a
  // query head. Sums are of the same numbers in the same order every time.
  static __device__ void heads(const BackwardParams& p) {
    const int head = blockIdx.x;
    float sink = 0.0f, slope = 0.0f;
    for (int b = 0; b < p.forward.batch; ++b) {
      const float2 one = block_sum(sums_of(p, read_sequence(p.forward, b), head));
      sink += one.x;
      slope += one.y;
      if (threadIdx.x != 0 || p.d_slopes == nullptr || p.d_slopes_batch_stride == 0) continue;
      p.d_slopes[b * p.d_slopes_batch_stride + head * p.d_slopes_head_stride] = one.y;
    }
    if (threadIdx.x != 0) return;
    if (p.d_sinks != nullptr) p.d_sinks[head * p.d_sinks_stride] = sink;
    if (p.d_slopes == nullptr || p.d_slopes_batch_stride != 0) return;
    p.d_slopes[head * p.d_slopes_head_stride] = slope;
  }

  static __device__ __forceinline__ float2 sums_of(const BackwardParams& p, const Sequence& s,
                                                   int head) {
    const int group = p.forward.group, kv_head = head / group;
    const i64 base = first_tile(p, s, kv_head, C.block_q) * C.block_q + head % group;
    float2 sums = make_float2(0.0f, 0.0f);
    for (int token = threadIdx.x; token < s.q_len; token += kBackwardRowsThreads) {
      const i64 row = base + i64(token) * group;
      if (p.d_sinks != nullptr) {
        const float sink = p.forward.sinks[head * p.forward.sinks_stride];
        const RowStats stats = p.stats[row];
        const float power =
            C.exact ? (sink - stats.reference) * kLog2E : fmaf(sink, kLog2E, -stats.reference);
        sums.x = fmaf(-ptx::ex2(power), stats.delta, sums.x);
      }
      if (p.d_slopes != nullptr) sums.y += p.slope_sums[row];
    }
    return sums;
  }

  // For thread 0.
  static __device__ __forceinline__ float2 block_sum(float2 mine) {
    __shared__ float2 all[kBackwardRowsThreads];
    __syncthreads();
    all[threadIdx.x] = mine;
    for (int half = kBackwardRowsThreads / 2; half > 0; half /= 2) {
      __syncthreads();
      if (threadIdx.x < half) {
        all[threadIdx.x].x += all[threadIdx.x + half].x;
        all[threadIdx.x].y += all[threadIdx.x + half].y;
      }
    }
    return all[0];
  }
};

}  // namespace rapt::kernels
