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

// Where the window of token 0 begins and ends before it is cut to [0, kv_len); both move on with
// the token. 32 bits are enough: tokens and keys are fewer than 2^30, so what lies further out may
// as well lie there.
struct Band {
  int begin;
  int end;
  int kv_len;

  __device__ __forceinline__ Range at(int token) const {
    return {cut(begin + token), cut(end + token)};
  }
  __device__ __forceinline__ int cut(int key) const {
    return key < 0 ? 0 : (key < kv_len ? key : kv_len);
  }
};

__device__ __forceinline__ Band band_of(const ForwardParams& p, const Sequence& s) {
  constexpr i64 kFar = 1 << 30;
  const i64 diagonal = s.q_start - s.kv_start;  // both within 2^61
  const auto place = [&](i64 from_diagonal) {
    return static_cast<int>(clamp(saturating_add(diagonal, from_diagonal), -kFar, kFar));
  };
  // One behind the last: a bound without limit is beyond every key.
  const int end = p.mask_right == kUnbounded ? kFar : place(saturating_add(p.mask_right, 1));
  return {p.mask_left == kUnbounded ? -static_cast<int>(kFar) : place(-p.mask_left), end, s.kv_len};
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
  const Band band = band_of(p, s);
  const Range low = band.at(first), high = band.at(last);
  const int sink_tokens = static_cast<int>(clamp(p.sink_tokens, 0, high.end));
  Range window = {low.begin, high.end}, sinks = {0, sink_tokens};
  if (sinks.end >= window.begin) {
    window.begin = sinks.end > 0 ? 0 : window.begin;
    sinks.end = 0;
  }
  return {intersect(sinks, keys), intersect(window, keys)};
}

}  // namespace rapt::kernels
