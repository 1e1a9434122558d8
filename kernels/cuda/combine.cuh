// SPDX-License-Identifier: Apache-2.0 OR MIT
// Merges the splits of every query row, in their order, and ends the row: a warp a row.
#pragma once
#include "kit/epilogue.cuh"

namespace rapt::kernels {

template <ForwardConfig C>
struct Combine {
  static constexpr int kRows = 4;  // of a CTA
  static constexpr int kThreads = 32 * kRows;
  static constexpr int V = C.value_dim / 32;  // columns a lane, in pairs

  struct Fragment {
    static constexpr bool in_quads = false;
    static __device__ __forceinline__ int col(int c) {
      return c / 2 * 64 + (threadIdx.x & 31) * 2 + (c & 1);
    }
  };

  static __device__ void run(const ForwardParams& p) {
    // CTAs count fours of rows; a tile's rows are a multiple of four.
    const u32 rows = u32(p.tiles) * (block_q(C) / kRows), head = blockIdx.x / rows;
    const int row = static_cast<int>(blockIdx.x - head * rows) * kRows + threadIdx.x / 32;
    const int local = row % block_q(C);
    const Work work = {static_cast<int>(head / u32(p.kv_heads)),
                       static_cast<int>(head % u32(p.kv_heads)), row / block_q(C), 0, 0};
    const Sequence s = read_sequence(p, work.batch);
    if (row >= s.q_rows * p.group) return;
    merge(p, s, work, row, local);
  }

  static __device__ __forceinline__ void merge(const ForwardParams& p, const Sequence& s,
                                               const Work& work, int row, int local) {
    const i64 first = partial_row(p, work, block_q(C)) + local;
    const float exponent = C.natural ? kLog2E : p.scale * kLog2E;
    float reference = -kInfinity, sum = 0.0f, o[V];
    for (int i = 0; i < p.splits; ++i) reference = fmaxf(reference, stats(p, first, i).x);
#pragma unroll
    for (int c = 0; c < V; ++c) o[c] = 0.0f;
    for (int i = 0; i < p.splits; ++i) {
      const float2 part = stats(p, first, i);
      if (part.y == 0.0f) continue;  // saw nothing; may hold its neighbours' NaN
      const float weight = ptx::ex2((part.x - reference) * exponent);
      sum = fmaf(part.y, weight, sum);
      add(p, first + i64(i) * block_q(C), weight, o);
    }
    const RowStore<C, Fragment> store = {p, s, work, (threadIdx.x & 31) == 0};
    store.write(row, local, reference, sum, o);
  }

  static __device__ __forceinline__ float2 stats(const ForwardParams& p, i64 first, int split) {
    return *reinterpret_cast<const float2*>(p.partial_stats +
                                            2 * (first + i64(split) * block_q(C)));
  }

  static __device__ __forceinline__ void add(const ForwardParams& p, i64 at, float weight,
                                             float (&o)[V]) {
#pragma unroll
    for (int c = 0; c < V; c += 2) {
      const int col = Fragment::col(c);
      if (col >= p.value_dim) continue;
      const float2 x = *reinterpret_cast<const float2*>(p.partial_out + at * p.value_dim + col);
      o[c] = fmaf(x.x, weight, o[c]);
      o[c + 1] = fmaf(x.y, weight, o[c + 1]);
    }
  }
};

}  // namespace rapt::kernels
