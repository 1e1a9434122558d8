// SPDX-License-Identifier: Apache-2.0 OR MIT
// The derivative of each feature of features.cuh, in the same fragments: y[R][K] is dP, then dS.
#pragma once
#include "features.cuh"

namespace rapt::kernels {

template <ForwardConfig C, class Layout>
struct FeatureGradients {
  static constexpr int R = Layout::rows, K = Layout::keys;
  using State = RowState<C, R>;
  using CapSlopes = float[C.softcap ? R : 1][C.softcap ? K : 1];

  Features<C, Layout> features;

  // q.k becomes scores, as in the forward; of softcap, c tanh(s / c), the derivative 1 - tanh^2
  // is kept. (tanh is computed once: the compiler sees that both want the same.)
  __device__ __forceinline__ void scores(float (&x)[R][K], CapSlopes& slopes, const Range& block,
                                         bool edge) const {
    if constexpr (C.softcap) {
      const ForwardParams& p = features.p;
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < K; ++c) {
          const float t = accurate_tanh<Layout::exact>(x[r][c] * (p.scale / p.softcap));
          slopes[r][c] = fmaf(-t, t, 1.0f);
        }
      }
    }
    features.scores(x, block, edge);
  }

  // From P and dP of what was kept to dS = P (dP - delta); P becomes what multiplied V. A dropped
  // probability had no part in out, a kept one counted `keep` times.
  __device__ __forceinline__ void softmax(float (&p)[R][K], float (&y)[R][K],
                                          const float (&delta)[R], float keep,
                                          const Range& block) const {
    if constexpr (C.dropout) {
      float kept[R][K];
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < K; ++c) kept[r][c] = 1.0f;
      }
      features.dropout(kept, block);
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < K; ++c) {
          const bool dropped = kept[r][c] == 0.0f;
          y[r][c] = p[r][c] * (dropped ? -delta[r] : fmaf(y[r][c], keep, -delta[r]));
          p[r][c] = dropped ? 0.0f : p[r][c];
        }
      }
    } else {
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < K; ++c) y[r][c] = p[r][c] * (y[r][c] - delta[r]);
      }
    }
  }

  // ALiBi: a score falls by the distance for each unit of slope. Adds this lane's share.
  __device__ __forceinline__ void slopes(const float (&y)[R][K], const Range& block,
                                         float (&sums)[R]) const {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float ahead = static_cast<float>(features.rows.query(r) - block.begin);
#pragma unroll
      for (int c = 0; c < K; ++c) {
        sums[r] = fmaf(-y[r][c], fabsf(ahead - static_cast<float>(Layout::key(c))), sums[r]);
      }
    }
  }

  // dS becomes the gradient of scale * q.k.
  __device__ __forceinline__ void cap(float (&y)[R][K], const CapSlopes& slopes) const {
    if constexpr (C.softcap) {
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < K; ++c) y[r][c] *= slopes[r][c];
      }
    }
  }
};

}  // namespace rapt::kernels
