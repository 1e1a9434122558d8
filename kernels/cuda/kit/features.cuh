// SPDX-License-Identifier: Apache-2.0 OR MIT
// Features of the score, each written once for every kernel. A kernel's fragment is s[R][K]: R rows
// and K keys a thread; Layout::key(c) says which key of the block column c is: the lane's first and
// an offset that all lanes share. What they must know
// of a row is in Rows (RowState, or a view of one).
#pragma once
#include "rows.cuh"

namespace rapt::kernels {

// tanh(x) to a few ulp for every x, small ones too: e / (e + 2) with e = exp(2|x|) - 1.
// `exact`: a division to the last bit, for FP32's accuracy.
template <bool exact>
__device__ __forceinline__ float accurate_tanh(float x) {
  const float t = fminf(28.0f, fabsf(x) * (2 * kLog2E));  // tanh(9.7) is 1 in FP32
  const float n = rintf(t);
  const float r = t - n;
  // (2^r - 1) / r on [-0.5, 0.5], relative error 1.1e-8.
  float q = 1.5403512022550207e-4f;
  q = fmaf(q, r, 1.3390735257416964e-3f);
  q = fmaf(q, r, 9.618237614631653e-3f);
  q = fmaf(q, r, 5.550357326865196e-2f);
  q = fmaf(q, r, 2.4022649228572845e-1f);
  q = fmaf(q, r, 6.931471824645996e-1f);
  const float scale = __int_as_float((static_cast<int>(n) + 127) << 23);
  const float e = fmaf(scale, q * r, scale - 1.0f);
  const float y = copysignf(exact ? __fdiv_rn(e, e + 2.0f) : __fdividef(e, e + 2.0f), x);
  return x != x ? x : y;  // fminf drops a NaN
}

// Philox4x32-7 (Salmon et al., SC 2011).
__device__ __forceinline__ void philox(u32 (&c)[4], u64 seed) {
  u32 k0 = static_cast<u32>(seed), k1 = static_cast<u32>(seed >> 32);
#pragma unroll
  for (int i = 0; i < 7; ++i) {
    const u32 high0 = __umulhi(0xd2511f53u, c[0]), low0 = 0xd2511f53u * c[0];
    const u32 high1 = __umulhi(0xcd9e8d57u, c[2]), low1 = 0xcd9e8d57u * c[2];
    c[0] = high1 ^ c[1] ^ k0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ k1;
    c[3] = low0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
}

template <ForwardConfig C, class Layout, class Rows = RowState<C, Layout::rows>>
struct Features {
  static constexpr int R = Layout::rows, K = Layout::keys;
  using State = Rows;

  const ForwardParams& p;
  const Sequence& s;
  const Rows& rows;

  // q.k of the block's keys becomes what the exponential is taken of, in the definition's order.
  // `edge`: not every row sees every key.
  __device__ __forceinline__ void scores(float (&x)[R][K], const Range& block, bool edge) const {
    if constexpr (C.natural) scale(x);
    if constexpr (C.alibi) alibi(x, block);
    if constexpr (C.bias) bias(x, block);
    if (!edge) return;
    if constexpr (C.band) {
      mask(x, block);
    } else {
      tail(x, block);
    }
  }

  __device__ __forceinline__ void scale(float (&x)[R][K]) const {
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < K; ++c) {
        if constexpr (C.softcap) {
          x[r][c] = p.softcap * accurate_tanh<Layout::exact>(x[r][c] * (p.scale / p.softcap));
        } else {
          x[r][c] *= p.scale;
        }
      }
    }
  }

  // Distances are counted from the block, where FP32 is exact below 2^24.
  __device__ __forceinline__ void alibi(float (&x)[R][K], const Range& block) const {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float ahead = static_cast<float>(rows.query(r) - block.begin);
#pragma unroll
      for (int c = 0; c < K; ++c) {
        x[r][c] = fmaf(-rows.slope(r), fabsf(ahead - static_cast<float>(Layout::key(c))), x[r][c]);
      }
    }
  }

  __device__ __forceinline__ void bias(float (&x)[R][K], const Range& block) const {
    constexpr Element kElement = static_cast<Element>(C.bias > 0 ? C.bias - 1 : 0);
    using N = Number<kElement>;
    const auto* from = static_cast<const typename N::Bits*>(p.bias);
    const int last = static_cast<int>(block.end < p.bias_kv_len ? block.end : p.bias_kv_len) - 1;
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < K; ++c) {
        int key = block.begin + Layout::key(c);
        key = key < last ? key : last;
        x[r][c] += N::widen(from[rows.bias(r) + key * p.bias_kv_stride]);
      }
    }
  }

  // Whether any row of this thread has an edge inside the block; the block's tail is one too.
  __device__ __forceinline__ bool has_edge(const Range& block) const {
    bool edge = block.end - block.begin < C.block_kv;
    if constexpr (C.band) edge |= rows.cut(block, block.end <= p.sink_tokens);
    return edge;
  }

  // Keys count from the lane's first, so that a comparison is with a constant.
  __device__ __forceinline__ void mask(float (&x)[R][K], const Range& block) const {
    asm volatile("" ::: "memory");  // as in tail
    const int origin = block.begin + Layout::lane_key();
    const int sinks = static_cast<int>(p.sink_tokens < block.end ? p.sink_tokens : block.end);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const Range window = rows.window(r);
      const int end = (window.end < block.end ? window.end : block.end) - origin;
      if (window.begin <= block.begin) {
        hide_behind(x[r], end);
      } else {
        hide_outside(x[r], window.begin - origin, end, sinks - origin);
      }
    }
  }

  static __device__ __forceinline__ void hide_behind(float (&x)[K], int end) {
#pragma unroll
    for (int c = 0; c < K; ++c) {
      if (Layout::key_offset(c) >= end) x[c] = -kInfinity;
    }
  }

  static __device__ __forceinline__ void hide_outside(float (&x)[K], int begin, int end,
                                                      int sinks) {
#pragma unroll
    for (int c = 0; c < K; ++c) {
      const int key = Layout::key_offset(c);
      const bool sees = key < end && (key >= begin || key < sinks);
      if (!sees) x[c] = -kInfinity;
    }
  }

  // Keys behind the block's last. The empty statement keeps a branch a branch: the compiler would
  // rather select 64 scores in every block (100 of 1430 instructions at D128). Counted from the
  // lane's first key, as in mask, it would spill 144 bytes at D128 on sm_80.
  __device__ __forceinline__ void tail(float (&x)[R][K], const Range& block) const {
    asm volatile("" ::: "memory");
#pragma unroll
    for (int c = 0; c < K; ++c) {
      if (block.begin + Layout::key(c) < block.end) continue;
#pragma unroll
      for (int r = 0; r < R; ++r) x[r][c] = -kInfinity;
    }
  }

  // Zeroes dropped probabilities; the kept ones' factor is left to the end of the row.
  __device__ __forceinline__ void dropout(float (&x)[R][K], const Range& block) const {
    const u64 first = static_cast<u64>(s.kv_start) + static_cast<u64>(block.begin);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      u32 words[4] = {};
      u64 group = ~0ull;
#pragma unroll
      for (int c = 0; c < K; ++c) {
        const u64 at = first + static_cast<u64>(Layout::key(c));
        if (at >> 4 != group) {
          group = at >> 4;
          words[0] = static_cast<u32>(group);
          words[1] = rows.position(r);
          words[2] = rows.stream(r);
          words[3] = p.dropout_offset;
          philox(words, p.dropout_seed);
        }
        const u32 word = at & 8 ? (at & 4 ? words[3] : words[2]) : (at & 4 ? words[1] : words[0]);
        const u32 byte = word >> (static_cast<u32>(at & 3) * 8) & 0xffu;
        if (byte >= static_cast<u32>(p.dropout_keep)) x[r][c] = 0.0f;
      }
    }
  }
};

}  // namespace rapt::kernels
