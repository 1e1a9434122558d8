// SPDX-License-Identifier: Apache-2.0 OR MIT
// The online softmax of R rows a thread (Milakov and Gimelshein, 2018; FlashAttention-2), in powers
// of two. Layout::lanes neighbouring lanes share a row.
#pragma once
#include "../forward_config.h"
#include "ptx.cuh"

namespace rapt::kernels {

template <int lanes>
__device__ __forceinline__ float max_over_lanes(float x) {
#pragma unroll
  for (int step = 1; step < lanes; step *= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

template <int lanes>
__device__ __forceinline__ float sum_over_lanes(float x) {
#pragma unroll
  for (int step = 1; step < lanes; step *= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

// fmaxf drops a NaN; a score that is NaN is left for the exponential to spread.
template <class Layout>
struct Softmax {
  static constexpr int R = Layout::rows, K = Layout::keys;

  float reference[R];  // what is subtracted: the row's maximum so far, in units of the scores
  float sum[R];        // of exponentials, this lane's share

  __device__ __forceinline__ Softmax() {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      reference[r] = -kInfinity;
      sum[r] = 0.0f;
    }
  }

  // Scores become probabilities; `factor` is what earlier sums, and the output, must be multiplied
  // by.
  __device__ __forceinline__ void step(float (&x)[R][K], float exponent, float (&factor)[R]) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float highest = fmaxf(reference[r], highest_of(x[r]));
      const float top = highest == -kInfinity ? 0.0f : highest;
      factor[r] = rescaling(reference[r], top, exponent);
      reference[r] = highest;
      float added = 0.0f;
#pragma unroll
      for (int c = 0; c < K; ++c) {
        x[r][c] = power(x[r][c], top, exponent);
        added += x[r][c];
      }
      sum[r] = fmaf(sum[r], factor[r], added);
    }
  }

  // The same in parts, for a kernel that does something else between them. First: references are
  // raised where the scores pass them by more than 2^kSlack (FlashAttention-4: in between,
  // probabilities above 1 do no harm in floating point). False where no row of the warp was raised:
  // then every factor is 1.
  static constexpr float kSlack = 8.0f;

  __device__ __forceinline__ bool raise(const float (&x)[R][K], float exponent,
                                        float (&factor)[R]) {
    float highest[R];
    bool passed = false;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      highest[r] = fmaxf(reference[r], highest_of(x[r]));
      passed |= (highest[r] - reference[r]) * exponent > kSlack;
    }
    if (!__any_sync(~0u, passed)) return false;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      factor[r] = rescaling(reference[r], highest[r] == -kInfinity ? 0.0f : highest[r], exponent);
      reference[r] = highest[r];
      sum[r] *= factor[r];
    }
    return true;
  }

  // Then: scores become probabilities.
  __device__ __forceinline__ void exponentiate(float (&x)[R][K], float exponent) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float top = reference[r] == -kInfinity ? 0.0f : reference[r];
      float even = 0.0f, odd = 0.0f;  // two chains of additions wait half as long as one
#pragma unroll
      for (int c = 0; c < K; c += 2) {
        x[r][c] = power(x[r][c], top, exponent);
        x[r][c + 1] = power(x[r][c + 1], top, exponent);
        even += x[r][c];
        odd += x[r][c + 1];
      }
      sum[r] += even + odd;
    }
  }

  // Four chains of comparisons, each of which waits for itself alone.
  static __device__ __forceinline__ float highest_of(const float (&x)[K]) {
    constexpr int kChains = K < 4 ? K : 4;
    float chain[kChains];
#pragma unroll
    for (int c = 0; c < K; ++c) {
      chain[c % kChains] = c < kChains ? x[c] : fmaxf(chain[c % kChains], x[c]);
    }
    float highest = chain[0];
#pragma unroll
    for (int i = 1; i < kChains; ++i) highest = fmaxf(highest, chain[i]);
    return max_over_lanes<Layout::lanes>(highest);
  }

  // 2^((x - top) * exponent). One instruction, whose error all keys of a row share; or, where out
  // has FP32's accuracy, two, so that the largest score has a probability of exactly 1.
  static __device__ __forceinline__ float power(float x, float top, float exponent) {
    if constexpr (Layout::exact) return ptx::ex2((x - top) * exponent);
    return ptx::ex2(fmaf(x, exponent, -(top * exponent)));
  }

  // The same of an earlier top: its product is rounded as it was for its own scores.
  static __device__ __forceinline__ float rescaling(float earlier, float top, float exponent) {
    if constexpr (Layout::exact) return power(earlier, top, exponent);
    return ptx::ex2(earlier * exponent - top * exponent);
  }

  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int r = 0; r < R; ++r) sum[r] = sum_over_lanes<Layout::lanes>(sum[r]);
  }
};

// The end of a row: what its output must be multiplied by, and its lse.
struct RowEnd {
  float factor;
  float lse;
};

// `maximum` in natural units. A row that saw nothing (sum 0) gives 0 and -inf, with learned sinks
// too; its output may hold 0 * NaN of keys that its neighbours saw, so whoever writes tests the
// lse.
template <ForwardConfig C>
__device__ __forceinline__ RowEnd end_row(const ForwardParams& p, float maximum, float sum,
                                          int head) {
  if (sum == 0.0f) return {0.0f, -kInfinity};
  float denominator = sum, weight = 1.0f;
  if constexpr (C.sinks) {
    const float sink = p.sinks[head * p.sinks_stride];
    if (sink > maximum) {
      weight = ptx::ex2((maximum - sink) * kLog2E);
      denominator = fmaf(sum, weight, 1.0f);
      maximum = sink;
    } else if (sink != -kInfinity) {
      denominator = sum + ptx::ex2((sink - maximum) * kLog2E);
    }
  }
  float keep = 1.0f;
  if constexpr (C.dropout) keep = 256.0f / static_cast<float>(p.dropout_keep);
  return {weight * keep / denominator, maximum + logf(denominator)};
}

}  // namespace rapt::kernels
