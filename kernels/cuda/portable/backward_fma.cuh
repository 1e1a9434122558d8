// SPDX-License-Identifier: Apache-2.0 OR MIT
// The backward's products in FP32 multiply-adds: FP32 inputs, and 16-bit inputs on GPUs older than
// sm_80. Sixteen threads share per_thread rows of S and dP, and per_thread keys of dK and dV; all
// tiles are FP32 in shared memory.
#pragma once
#include "backward.cuh"

namespace rapt::kernels {

template <BackwardConfig C>
struct FmaProducts {
  static constexpr int T = C.per_thread, B = C.block_q;  // block_kv is the same
  static_assert(C.block_q == C.block_kv && C.stages == 1);
  static constexpr int kThreads = B / T * 16;
  static constexpr int kColumnParts = 1;
  static constexpr ForwardConfig F = forward_config(C, 1, C.block_kv);
  // Rows stand 16 bytes further apart than they are long: 16 threads read 16 rows without conflict.
  static constexpr int kQPitch = C.head_dim + 4, kVPitch = C.value_dim + 4, kWPitch = B + 4;
  static constexpr int kBytes = 4 * B * 2 * (kQPitch + kVPitch + kWPitch);
  static constexpr int kKColumns = C.head_dim / 16, kVColumns = C.value_dim / 16;  // of a thread

  struct Layout {
    static constexpr int rows = T;
    static constexpr int keys = B / 16;
    static constexpr int lanes = 16;
    static constexpr bool exact = C.element == Element::fp32;
    static __device__ __forceinline__ int key(int c) { return lane_key() + key_offset(c); }
    static __device__ __forceinline__ int lane_key() { return threadIdx.x & 15; }
    static constexpr int key_offset(int c) { return c * 16; }
  };
  using QuerySums = float[T][kKColumns];

  float *k_tile, *v_tile, *q_tile, *d_out_tile, *p_tile, *ds_tile;

  float dk[T][kKColumns];
  float dv[T][kVColumns];

  __device__ __forceinline__ explicit FmaProducts(unsigned char* shared)
      : k_tile(reinterpret_cast<float*>(shared)),
        v_tile(k_tile + B * kQPitch),
        q_tile(v_tile + B * kVPitch),
        d_out_tile(q_tile + B * kQPitch),
        p_tile(d_out_tile + B * kVPitch),
        ds_tile(p_tile + B * kWPitch) {}

  static __device__ __forceinline__ int group() { return threadIdx.x / 16; }
  static __device__ __forceinline__ int local_row(int r) { return group() * T + r; }
  static __device__ __forceinline__ int column_part() { return 0; }
  static __device__ __forceinline__ bool multiplies() { return true; }
  // Column c of a thread's: four of every 64.
  static __device__ __forceinline__ int column(int c) {
    return c / 4 * 64 + (threadIdx.x & 15) * 4 + (c & 3);
  }
  __device__ __forceinline__ float* scratch() const { return k_tile; }

  // ---- loading

  template <Element element, int columns, int pitch, class RowOf>
  static __device__ __forceinline__ void load(float* tile, int dim, RowOf row_of) {
    constexpr bool kCopies = element == Element::fp32 && C.aligned && kHasCpAsync;
    constexpr int kStep = kCopies ? 4 : 1;
    for (int i = threadIdx.x; i < B * columns / kStep; i += kThreads) {
      const int row = i / (columns / kStep), d = i % (columns / kStep) * kStep;
      const auto* from = row_of(row);
      const bool valid = from != nullptr && d < dim;
      float* to = tile + row * pitch + d;
      if constexpr (kCopies) {
        ptx::cp_async_16(ptx::shared_address(to), from + (valid ? d : 0), valid ? 16 : 0);
      } else {
        *to = valid ? Number<element>::widen(from[d]) : 0.0f;
      }
    }
  }

  template <class KRow, class VRow>
  __device__ __forceinline__ void load_keys(const ForwardParams& p, KRow k_row, VRow v_row) const {
    load<C.element, C.head_dim, kQPitch>(k_tile, p.head_dim, k_row);
    load<C.element, C.value_dim, kVPitch>(v_tile, p.value_dim, v_row);
  }

  template <class QRow, class DOutRow>
  __device__ __forceinline__ void load_rows(const ForwardParams& p, int, QRow q_row,
                                            DOutRow d_out_row) const {
    load<C.element, C.head_dim, kQPitch>(q_tile, p.head_dim, q_row);
    load<C.out_element, C.value_dim, kVPitch>(d_out_tile, p.value_dim, d_out_row);
  }

  __device__ __forceinline__ void arrive() const {
    if constexpr (kHasCpAsync) ptx::cp_async_wait_all();
    __syncthreads();
  }

  // ---- products

  static __device__ __forceinline__ float4 load4(const float* from) {
    return *reinterpret_cast<const float4*>(from);
  }
  static __device__ __forceinline__ float part(const float4& x, int i) {
    return i == 0 ? x.x : i == 1 ? x.y : i == 2 ? x.z : x.w;
  }

  // x = rows times keys, dimension after dimension.
  template <int dim, int pitch>
  __device__ __forceinline__ void multiply(float (&x)[T][B / 16], const float* rows,
                                           const float* keys) const {
#pragma unroll
    for (int r = 0; r < T; ++r) {
#pragma unroll
      for (int c = 0; c < B / 16; ++c) x[r][c] = 0.0f;
    }
    rows += local_row(0) * pitch;
    keys += (threadIdx.x & 15) * pitch;
#pragma unroll 4
    for (int d = 0; d < dim; d += 4) {
      float4 a[T], b[B / 16];
#pragma unroll
      for (int r = 0; r < T; ++r) a[r] = load4(rows + r * pitch + d);
#pragma unroll
      for (int c = 0; c < B / 16; ++c) b[c] = load4(keys + c * 16 * pitch + d);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int r = 0; r < T; ++r) {
#pragma unroll
          for (int c = 0; c < B / 16; ++c) {
            x[r][c] = fmaf(part(a[r], i), part(b[c], i), x[r][c]);
          }
        }
      }
    }
  }

  __device__ __forceinline__ void multiply_scores(float (&x)[T][B / 16], int) const {
    multiply<C.head_dim, kQPitch>(x, q_tile, k_tile);
  }
  __device__ __forceinline__ void multiply_d_out(float (&y)[T][B / 16], int) const {
    multiply<C.value_dim, kVPitch>(y, d_out_tile, v_tile);
  }

  __device__ __forceinline__ void store_weights(const float (&p)[T][B / 16],
                                                const float (&ds)[T][B / 16]) const {
#pragma unroll
    for (int r = 0; r < T; ++r) {
#pragma unroll
      for (int c = 0; c < B / 16; ++c) {
        const int to = local_row(r) * kWPitch + Layout::key(c);
        p_tile[to] = p[r][c];
        ds_tile[to] = ds[r][c];
      }
    }
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int t = 0; t < T; ++t) {
#pragma unroll
      for (int c = 0; c < kKColumns; ++c) dk[t][c] = 0.0f;
#pragma unroll
      for (int c = 0; c < kVColumns; ++c) dv[t][c] = 0.0f;
    }
  }

  // sums[t] += weight(t) * row.
  template <int N, class Weight>
  static __device__ __forceinline__ void add_row(float (&sums)[T][N], const float* row,
                                                 Weight weight) {
#pragma unroll
    for (int c = 0; c < N; c += 4) {
      const float4 x = load4(row + column(c));
#pragma unroll
      for (int t = 0; t < T; ++t) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[t][c + i] = fmaf(weight(t), part(x, i), sums[t][c + i]);
      }
    }
  }

  __device__ __forceinline__ void add_keys(int) {
#pragma unroll 1
    for (int row = 0; row < B; ++row) {
      const float* p = p_tile + row * kWPitch + group() * T;
      const float* ds = ds_tile + row * kWPitch + group() * T;
      add_row(dv, d_out_tile + row * kVPitch, [&](int t) { return p[t]; });
      add_row(dk, q_tile + row * kQPitch, [&](int t) { return ds[t]; });
    }
  }

  __device__ __forceinline__ void multiply_queries(QuerySums& q) const {
#pragma unroll
    for (int t = 0; t < T; ++t) {
#pragma unroll
      for (int c = 0; c < kKColumns; ++c) q[t][c] = 0.0f;
    }
    const float* ds = ds_tile + local_row(0) * kWPitch;
#pragma unroll 1
    for (int key = 0; key < B; ++key) {
      add_row(q, k_tile + key * kQPitch, [&](int t) { return ds[t * kWPitch + key]; });
    }
  }

  // ---- results

  __device__ __forceinline__ void add_queries(const QuerySums& q, float* sums) const {
#pragma unroll
    for (int t = 0; t < T; ++t) {
#pragma unroll
      for (int c = 0; c < kKColumns; c += 4) {
        const float four[4] = {q[t][c], q[t][c + 1], q[t][c + 2], q[t][c + 3]};
        ptx::add_to_global(sums + sum_place(false, C.head_dim, local_row(t), column(c)), four);
      }
    }
  }

  template <class WriteK, class WriteV>
  __device__ __forceinline__ void write_keys(WriteK write_k, WriteV write_v) const {
#pragma unroll
    for (int t = 0; t < T; ++t) {
#pragma unroll
      for (int c = 0; c < kKColumns; c += 2) {
        write_k(local_row(t), column(c), dk[t][c], dk[t][c + 1]);
      }
#pragma unroll
      for (int c = 0; c < kVColumns; c += 2) {
        write_v(local_row(t), column(c), dv[t][c], dv[t][c + 1]);
      }
    }
  }
};

template <BackwardConfig C>
using FmaBackward = Backward<C, FmaProducts<C>>;

}  // namespace rapt::kernels
