// SPDX-License-Identifier: Apache-2.0 OR MIT
// The mask as arithmetic on indices. With diagonal = q_start - kv_start, query i sees key j of
// [0, kv_len) iff j <= i + diagonal + right and (j >= i + diagonal - left or j < sink_tokens).
#pragma once
#include "sequence.cuh"

namespace rapt::kernels {

// Keys [begin, end) of one sequence.
struct Range {
  int begin;
  int end;
};

__device__ __forceinline__ Range window_of(const ForwardParams& p, const Sequence& s, i64 token) {
  const i64 at = token + (s.q_start - s.kv_start);  // both within 2^61
  Range window = {0, s.kv_len};
  if (p.mask_left != kUnbounded) {
    window.begin = static_cast<int>(clamp(saturating_add(at, -p.mask_left), 0, s.kv_len));
  }
  if (p.mask_right != kUnbounded) {
    const i64 last = saturating_add(at, p.mask_right);
    window.end = last == kUnbounded ? s.kv_len : static_cast<int>(clamp(last + 1, 0, s.kv_len));
  }
  return window;
}

// The keys that a tile of rows walks, block by block: the sink tokens in front of its window, then
// the window of all its rows. Blocks begin where the ranges do, so that a key that none of the rows
// sees is never loaded.
struct KeyWalk {
  Range sinks;
  Range window;

  __device__ __forceinline__ int blocks(int block) const {
    return count(sinks, block) + count(window, block);
  }

  // The keys of block `i`.
  __device__ __forceinline__ Range at(int i, int block) const {
    const int first = count(sinks, block);
    const Range range = i < first ? sinks : window;
    const int begin = range.begin + (i < first ? i : i - first) * block;
    return {begin, begin + block < range.end ? begin + block : range.end};
  }

  static __device__ __forceinline__ int count(const Range& r, int block) {
    return r.end > r.begin ? (r.end - r.begin + block - 1) / block : 0;
  }
};

__device__ __forceinline__ Range intersect(const Range& a, const Range& b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

// Of query tokens [first, last] and those of their keys that lie in `keys`.
__device__ inline KeyWalk make_walk(const ForwardParams& p, const Sequence& s, int first, int last,
                                    const Range& keys) {
  const Range low = window_of(p, s, first), high = window_of(p, s, last);
  const int sink_tokens = static_cast<int>(clamp(p.sink_tokens, 0, high.end));
  Range window = {low.begin, high.end}, sinks = {0, sink_tokens};
  if (sinks.end >= window.begin) {
    window.begin = sinks.end > 0 ? 0 : window.begin;
    sinks.end = 0;
  }
  return {intersect(sinks, keys), intersect(window, keys)};
}

}  // namespace rapt::kernels
