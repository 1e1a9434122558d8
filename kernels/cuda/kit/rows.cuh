// SPDX-License-Identifier: Apache-2.0 OR MIT
// The query rows that a thread holds scores of: row r of a sequence is token r / group and head
// r % group of the query heads that share its kv head.
#pragma once
#include "../forward_config.h"
#include "band.cuh"

namespace rapt::kernels {

// The block of work of one CTA.
struct Work {
  int batch;
  int kv_head;
  int tile;
  int split;
  int value_chunk;
};

__device__ __forceinline__ Work find_work(const ForwardParams& p) {
  u32 rest = blockIdx.x;  // 32 bits: divisions of 64 would cost a tile's prologue microseconds
  const auto digit = [&](int base) {
    const u32 quotient = rest / u32(base), remainder = rest - quotient * u32(base);
    rest = quotient;
    return static_cast<int>(remainder);
  };
  Work w;
  // The last rows of a causal mask see the most keys: they begin first.
  w.tile = p.tiles - 1 - digit(p.tiles);
  w.value_chunk = digit(p.value_chunks);
  w.split = digit(p.splits);
  w.kv_head = digit(p.kv_heads);
  w.batch = static_cast<int>(rest);
  return w;
}

// First of the block's rows of partial results.
__device__ __forceinline__ i64 partial_row(const ForwardParams& p, const Work& w, int rows) {
  const i64 tile = (i64(w.batch) * p.kv_heads + w.kv_head) * p.tiles + w.tile;
  return (tile * p.splits + w.split) * rows;
}

// The keys that the block of rows from `first_row` on walks, within its split. Rows before the
// sequence's first see nothing.
template <ForwardConfig C>
__device__ __forceinline__ KeyWalk keys_of(const ForwardParams& p, const Sequence& s, const Work& w,
                                           int first_row) {
  const int first = (first_row > 0 ? first_row : 0) / p.group;
  const int last_row = first_row + block_q(C) - 1;
  const int last = last_row / p.group < s.q_len ? last_row / p.group : s.q_len - 1;
  if (first > last) return {{0, 0}, {0, 0}};  // padding alone
  Range keys = {0, s.kv_len};
  if constexpr (C.split) {
    const i64 begin = i64(w.split) * p.split_keys;
    keys.begin = static_cast<int>(clamp(begin, 0, s.kv_len));
    keys.end = static_cast<int>(clamp(begin + p.split_keys, 0, s.kv_len));
  }
  if constexpr (!C.band) return {{0, 0}, keys};
  return make_walk(p, s, first, last, keys);
}

struct RowPlace {
  int token;
  int head;
};

__device__ __forceinline__ RowPlace place_of(const ForwardParams& p, int kv_head, int row) {
  const int token = row / p.group;
  return {token, kv_head * p.group + (row - token * p.group)};
}

__device__ __forceinline__ i64 offset_of(const RowsParam& rows, const Sequence& s, RowPlace at) {
  return s.q_batch * rows.batch_stride + (s.q_token + at.token) * rows.token_stride +
         at.head * rows.head_stride;
}

// N of something for a feature that is on; nothing for one that is off.
template <bool on, class T, int N>
struct PerRow {
  T at[N];
};
template <class T, int N>
struct PerRow<false, T, N> {};

// What the mask and the features must know of N rows.
template <ForwardConfig C, int N>
struct RowState {
  PerRow<C.band, Range, N> windows;
  PerRow<C.alibi, float, N> slopes;
  PerRow<C.alibi, i64, N> queries;
  PerRow<(C.bias > 0), i64, N> bias_offsets;
  PerRow<C.dropout, u32, N> positions, streams;

  __device__ __forceinline__ const Range& window(int i) const { return windows.at[i]; }
  __device__ __forceinline__ float slope(int i) const { return slopes.at[i]; }
  // Token + diagonal: its place on the axis of keys.
  __device__ __forceinline__ i64 query(int i) const { return queries.at[i]; }
  __device__ __forceinline__ i64 bias(int i) const { return bias_offsets.at[i]; }
  __device__ __forceinline__ u32 position(int i) const { return positions.at[i]; }
  __device__ __forceinline__ u32 stream(int i) const { return streams.at[i]; }

  // Whether some row's window has an edge inside the block.
  __device__ __forceinline__ bool cut(const Range& block, bool all_sink) const {
    bool cuts = false;
#pragma unroll
    for (int i = 0; i < N; ++i) {
      cuts |= window(i).end < block.end;
      cuts |= !all_sink && window(i).begin > block.begin;
    }
    return cuts;
  }

  // Rows behind the last stand in for it: they are computed and never written.
  __device__ __forceinline__ void set(const ForwardParams& p, const Sequence& s, int i,
                                      RowPlace at) {
    if constexpr (C.band) windows.at[i] = band_of(p, s).at(at.token);
    if constexpr (C.alibi) {
      queries.at[i] = at.token + (s.q_start - s.kv_start);
      slopes.at[i] = p.alibi[s.index * p.alibi_batch_stride + at.head * p.alibi_head_stride];
    }
    if constexpr (C.bias) {
      const i64 row = at.token < p.bias_q_len ? at.token : p.bias_q_len - 1;
      bias_offsets.at[i] =
          s.index * p.bias_batch_stride + at.head * p.bias_head_stride + row * p.bias_q_stride;
    }
    if constexpr (C.dropout) {
      positions.at[i] = static_cast<u32>(static_cast<u64>(s.q_start) + static_cast<u64>(at.token));
      streams.at[i] = static_cast<u32>(i64(s.index) * p.q_heads + at.head);
    }
  }
};

}  // namespace rapt::kernels
