// SPDX-License-Identifier: Apache-2.0 OR MIT
// One sequence of the batch, read from device memory. Whatever a caller's offsets, lengths and rows
// say is clamped here, so that nothing behind this file can leave a tensor.
#pragma once
#include "../forward_params.h"
#include "indices.cuh"

namespace rapt::kernels {

struct Sequence {
  i64 q_batch;   // row of q's batch dimension (0 when ragged)
  i64 q_token;   // first token in q (0 when dense)
  i64 kv_batch;  // row of k's batch dimension
  i64 kv_token;  // first key's token in k
  i64 q_start;   // position of query 0
  i64 kv_start;  // position of key 0
  const int* pages;
  int index;   // in the batch
  int q_len;   // queries used
  int q_rows;  // rows of out to write: q_len and the padding behind it
  int kv_len;  // keys used
};

struct Span {
  i64 begin;
  int length;
};

// Tokens of sequence b of a ragged tensor.
__device__ __forceinline__ Span read_span(const IndexParam& offsets, int b, i64 tokens, int most) {
  const i64 begin = clamp(read_index(offsets, b), 0, tokens);
  const i64 end = clamp(read_index(offsets, b + 1), begin, tokens);
  return {begin, static_cast<int>(clamp(end - begin, 0, most))};
}

__device__ inline Sequence read_sequence(const ForwardParams& p, int b) {
  constexpr i64 kMostPosition = 1LL << 61;
  Sequence s = {};
  s.index = b;
  if (p.q_offsets.kind != IndexKind::none) {
    const Span span = read_span(p.q_offsets, b, p.q_tokens, p.q_len);
    s.q_token = span.begin;
    s.q_len = s.q_rows = span.length;
  } else {
    s.q_batch = b;
    s.q_rows = p.q_len;
    s.q_len = static_cast<int>(clamp(index_or(p.q_used, b, p.q_len), 0, p.q_len));
  }
  if (p.kv_offsets.kind != IndexKind::none) {
    const Span span = read_span(p.kv_offsets, b, p.kv_tokens, p.kv_len);
    s.kv_token = span.begin;
    s.kv_len = span.length;
  } else {
    const i64 used = clamp(index_or(p.kv_used, b, p.kv_len), 0, p.kv_len);
    s.kv_batch = clamp(index_or(p.cache_row, b, b), 0, p.cache_rows - 1);
    s.kv_token = clamp(index_or(p.left_pad, b, 0), 0, used);
    s.kv_len = static_cast<int>(used - s.kv_token);
    s.pages = p.page_table + b * p.page_table_stride;
  }
  s.q_start = clamp(index_or(p.q_start, b, i64(s.kv_len) - s.q_len), -kMostPosition, kMostPosition);
  s.kv_start = clamp(index_or(p.kv_start, b, 0), -kMostPosition, kMostPosition);
  return s;
}

}  // namespace rapt::kernels
