// SPDX-License-Identifier: Apache-2.0 OR MIT
// merge: attention over disjoint sets of keys into attention over their union. Eight threads a row,
// each with columns of its own; so a part may be merged in place.
#pragma once
#include "kit/pack.cuh"
#include "merge_config.h"
#include "merge_params.h"

namespace rapt::kernels {

template <MergeConfig C>
struct Merge {
  using Bits = typename Number<C.element>::Bits;
  static constexpr int N = 16 / static_cast<int>(sizeof(Bits));  // columns at a time
  static constexpr bool kAligned = C.aligned != 0;

  struct Place {
    i64 row, batch;
    u32 token, head;
  };

  // The softmax over the parts of one row. A NaN among the lse is no maximum and spoils the sum.
  struct Weights {
    float max, sum, scale;

    __device__ __forceinline__ float of(float lse) const { return expf(lse - max); }
    __device__ __forceinline__ float lse() const {
      return sum == 0.0f ? -kInfinity : max + logf(sum);
    }
  };

  // Block x of the grid is a group of rows, block y a sequence of the batch.
  static __device__ void run(const MergeParams& p) {
    const u32 rows = static_cast<u32>(p.tokens) * static_cast<u32>(p.heads);
    for (i64 batch = blockIdx.y; batch < p.batch; batch += gridDim.y) {
      for (u32 first = blockIdx.x * kMergeRows; first < rows; first += gridDim.x * kMergeRows) {
        const u32 row = first + threadIdx.x / kMergeLanes;
        const bool live = row < rows;
        const Place at = place_of(p, batch, live ? row : 0);
        Weights weights = {};
        if (live) weights = merge_row(p, at);
        __syncwarp();  // every lane has read the row's lse, which may be one that is written now
        if (live && threadIdx.x % kMergeLanes == 0) write_lse(p, at, weights.lse());
      }
    }
  }

  static __device__ __forceinline__ Place place_of(const MergeParams& p, i64 batch, u32 row) {
    const u32 heads = static_cast<u32>(p.heads), token = row / heads;
    return {batch * p.tokens * p.heads + row, batch, token, row - token * heads};
  }

  static __device__ __forceinline__ i64 offset_of(const RowsParam& rows, const Place& at) {
    return at.batch * rows.batch_stride + at.token * rows.token_stride + at.head * rows.head_stride;
  }

  static __device__ __forceinline__ float lse_of(const MergeParams& p, int part, const Place& at) {
    const RowsParam& lse = p.parts[part].lse;
    return static_cast<const float*>(lse.data)[offset_of(lse, at)];
  }

  static __device__ __forceinline__ Weights merge_row(const MergeParams& p, const Place& at) {
    const float carried = C.chained && p.takes ? p.carried_lse[at.row] : -kInfinity;
    const Weights weights = weigh(p, at, carried);
    for (int d = threadIdx.x % kMergeLanes * N; d < p.dim; d += kMergeLanes * N) {
      float sums[N] = {};
      if (carried != -kInfinity) add_carried(p, at, d, weights.of(carried) * weights.scale, sums);
      add_parts(p, at, d, weights, sums);
      write(p, at, d, sums);
    }
    return weights;
  }

  // A part that saw no key weighs nothing, also beside others that saw none.
  static __device__ __forceinline__ Weights weigh(const MergeParams& p, const Place& at,
                                                  float carried) {
    Weights weights = {carried, 0.0f, 0.0f};
#pragma unroll 4
    for (int i = 0; i < p.count; ++i) weights.max = fmaxf(weights.max, lse_of(p, i, at));
    if (carried != -kInfinity) weights.sum = weights.of(carried);
#pragma unroll 4
    for (int i = 0; i < p.count; ++i) {
      const float lse = lse_of(p, i, at);
      if (lse != -kInfinity) weights.sum += weights.of(lse);
    }
    if (weights.sum == 0.0f) return weights;
    // The largest part weighs 1 before: no special case needs a division. One Newton step.
    const float near = __fdividef(1.0f, weights.sum);
    weights.scale = fmaf(near, fmaf(-weights.sum, near, 1.0f), near);
    return weights;
  }

  static __device__ __forceinline__ void add_carried(const MergeParams& p, const Place& at, int d,
                                                     float weight, float (&sums)[N]) {
    const float* from = p.carried_out + at.row * p.dim + d;
#pragma unroll
    for (int i = 0; i < N; ++i) sums[i] = weight * from[i];
  }

  static __device__ __forceinline__ void add_parts(const MergeParams& p, const Place& at, int d,
                                                   const Weights& weights, float (&sums)[N]) {
#pragma unroll 4
    for (int part = 0; part < p.count; ++part) {
      const float lse = lse_of(p, part, at);
      const RowsParam& out = p.parts[part].out;
      const Bits* from = static_cast<const Bits*>(out.data) + offset_of(out, at) + d;
      const Pack<Bits, N> x = load_pack<kAligned, N>(from);
      if (lse == -kInfinity) continue;  // whatever its row holds
      const float weight = weights.of(lse) * weights.scale;
#pragma unroll
      for (int i = 0; i < N; ++i) {
        sums[i] = fmaf(weight, Number<C.element>::widen(x.at[i]), sums[i]);
      }
    }
  }

  static __device__ __forceinline__ void write(const MergeParams& p, const Place& at, int d,
                                               const float (&sums)[N]) {
    if (C.chained && p.leaves) {
      float* to = p.carried_out + at.row * p.dim + d;
#pragma unroll
      for (int i = 0; i < N; ++i) to[i] = sums[i];
      return;
    }
    Pack<Bits, N> x;
#pragma unroll
    for (int i = 0; i < N; ++i) x.at[i] = Number<C.element>::narrow(sums[i]);
    const RowsParam& out = p.merged.out;
    store_pack<kAligned>(static_cast<Bits*>(out.data) + offset_of(out, at) + d, x);
  }

  static __device__ __forceinline__ void write_lse(const MergeParams& p, const Place& at,
                                                   float value) {
    const RowsParam& lse = p.merged.lse;
    if (C.chained && p.leaves) {
      p.carried_lse[at.row] = value;
    } else if (lse.data != nullptr) {
      static_cast<float*>(lse.data)[offset_of(lse, at)] = value;
    }
  }
};

}  // namespace rapt::kernels
