// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a forward kernel is launched with: lengths, strides, pointers and how the work is divided.
// Read by the host's compiler and by NVRTC. Strides are in elements.
#pragma once
#include "view_params.h"

namespace rapt::kernels {

struct ForwardParams {
  RowsParam q, k, v, out, lse;
  PagesParam k_pages, v_pages;
  const int* page_table;
  long long page_table_stride;
  long long pages;  // in the cache

  long long q_tokens, kv_tokens;  // ragged: totals
  long long cache_rows;           // batch dimension of dense k and v
  int batch, q_len, kv_len;       // of the longest sequence
  int q_heads, kv_heads, group;
  int head_dim, value_dim;
  int page_shift;  // log2 of page_size

  IndexParam q_offsets, kv_offsets;
  IndexParam q_used, kv_used, cache_row, left_pad, q_start, kv_start;

  long long mask_left, mask_right, sink_tokens;  // INT64_MAX: no limit on that side
  float scale;
  float softcap;

  const float* alibi;
  long long alibi_batch_stride, alibi_head_stride;
  const void* bias;
  long long bias_batch_stride, bias_head_stride, bias_q_stride, bias_kv_stride;
  long long bias_q_len, bias_kv_len;  // rows and keys that it covers
  const float* sinks;
  long long sinks_stride;
  unsigned long long dropout_seed;
  unsigned dropout_offset;
  int dropout_keep;  // of 256

  // Division of the work: block x of the grid is (batch, kv head, split, value chunk, tile of
  // rows), the tile fastest.
  int tiles;             // of the longest sequence
  int splits;            // over keys
  int value_chunks;      // over value_dim
  int split_keys;        // keys of a split
  float* partial_out;    // [batch, kv_heads, tiles, splits, block_q, value_dim]
  float* partial_stats;  // [batch, kv_heads, tiles, splits, block_q, 2]: reference and sum
};

}  // namespace rapt::kernels
