// SPDX-License-Identifier: Apache-2.0 OR MIT
// Problem: one attention problem, validated and normalised; the noun that every room below the
// front door reads. Plain data only: files compiled for wide instruction sets include it, so an
// inline function here could leak such instructions into the rest of the library.
#pragma once
#include <cstddef>
#include <cstdint>

#include "rapt/rapt.h"

namespace rapt {

// Element types, by the C interface's numbers.
enum class DType : std::int32_t {
  none = RAPT_NONE,
  fp32 = RAPT_FP32,
  fp16 = RAPT_FP16,
  bf16 = RAPT_BF16,
  fp8_e4m3 = RAPT_FP8_E4M3,
  fp8_e5m2 = RAPT_FP8_E5M2,
  int8 = RAPT_INT8,
  int32 = RAPT_INT32,
  uint32 = RAPT_UINT32,
  int64 = RAPT_INT64,
};

// Where element (batch, token, head, 0) of q, k, v or out lives; strides in elements, the innermost
// dimension is contiguous. Ragged tensors have batch_stride 0: a sequence's offset is its first
// token.
struct Rows {
  void* data = nullptr;
  std::int64_t batch_stride = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
};

// One cache in pages, strides in elements. For RAPT_HEAD_DIM_PAGE and X_PACKED the token is the
// contiguous dimension (token_stride 1, or x for X_PACKED) and dim_stride steps a head dimension
// (X_PACKED: a group of x of them; inside a group dimensions are contiguous).
struct PagedRows {
  void* data = nullptr;
  std::int64_t page_stride = 0;
  std::int64_t token_stride = 0;
  std::int64_t head_stride = 0;
  std::int64_t dim_stride = 1;
  std::int64_t x = 1;  // dimensions in one contiguous group; 1 where dim_stride alone says it all
};

// A vector of integers that a caller lent; null data = not given.
struct Indices {
  const void* data = nullptr;
  DType dtype = DType::none;
  std::int64_t stride = 1;
};

enum class DeviceKind : std::int32_t {
  cpu = RAPT_CPU,
  cuda = RAPT_CUDA,
  vulkan = RAPT_VULKAN,
  metal = RAPT_METAL,
};

struct Problem {
  // Sizes. Ragged: q_len / kv_len bound one sequence, q_tokens / kv_tokens are the totals.
  std::int64_t batch = 0;
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;
  std::int64_t q_tokens = 0;   // rows of q over the whole batch (batch * q_len when dense)
  std::int64_t kv_tokens = 0;  // likewise; paged: batch * kv_len
  std::int64_t q_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t value_dim = 0;
  std::int64_t cache_rows = 0;  // batch dimension of dense k and v

  DType dtype = DType::none;     // of q, k and v
  DType kv_dtype = DType::none;  // as dtype, or 8 bits wide under a 16-bit q
  DType out_dtype = DType::none;
  DeviceKind device_kind = DeviceKind::cpu;
  std::int32_t device_index = 0;

  Rows q, out;
  Rows k, v;  // dense and ragged
  // lse element (batch, head, token); ragged: batch stride 0. Null data = not wanted.
  Rows lse;

  float scale = 0;
  float softcap = 0;  // 0 = off

  // The band; RAPT_UNBOUNDED on a side = no limit there.
  std::int64_t mask_left = RAPT_UNBOUNDED;
  std::int64_t mask_right = RAPT_UNBOUNDED;
  std::int64_t sink_tokens = 0;

  // ALiBi slopes FP32 (batch, head); null = off.
  const float* alibi = nullptr;
  std::int64_t alibi_batch_stride = 0;
  std::int64_t alibi_head_stride = 0;

  // Bias element (batch, head, query, key); stride 0 = broadcast. The key stride is 0 or 1.
  const void* bias = nullptr;
  DType bias_dtype = DType::none;
  std::int64_t bias_batch_stride = 0;
  std::int64_t bias_head_stride = 0;
  std::int64_t bias_q_stride = 0;
  std::int64_t bias_kv_stride = 0;
  std::int64_t bias_q_len = INT64_MAX;  // rows and keys that it covers
  std::int64_t bias_kv_len = INT64_MAX;

  // Learned sinks FP32 (head); null = off.
  const float* sinks = nullptr;
  std::int64_t sinks_stride = 0;

  // Dropout: a probability is kept when its byte < keep_byte; 256 = off.
  std::int32_t dropout_keep = 256;
  std::uint32_t dropout_offset = 0;
  std::uint64_t dropout_seed = 0;

  // FP8 inputs: FP32 factors (batch or page, kv_head); null = 1.
  const float* q_descale = nullptr;
  const float* k_descale = nullptr;
  const float* v_descale = nullptr;
  std::int64_t q_descale_strides[2] = {0, 0};
  std::int64_t k_descale_strides[2] = {0, 0};
  std::int64_t v_descale_strides[2] = {0, 0};

  // Ragged offsets [batch + 1]; null = dense.
  Indices q_offsets, kv_offsets;

  // Pages; page_size 0 = not paged. The table is INT32 [batch, max_pages].
  std::int64_t page_size = 0;
  std::int64_t pages = 0;  // in the cache
  std::int64_t max_pages = 0;
  std::int32_t page_layout = RAPT_PAGE_HEAD_DIM;
  const std::int32_t* page_table = nullptr;
  std::int64_t page_table_stride = 0;
  PagedRows k_pages, v_pages;

  // Used lengths and places [batch]; null data = not given.
  Indices q_used, kv_used, cache_row, left_pad;
  // Positions [batch]; null data = default.
  Indices q_start, kv_start;
};

// The gradient of a problem: its out and lse are inputs, all else here is written.
struct Gradient {
  Problem forward;
  Rows d_out;
  Rows dq, dk, dv;  // of q's, k's and v's type

  // FP32, element (batch, head, query, key); stride 0 = summed over. Null = not wanted.
  float* d_bias = nullptr;
  std::int64_t d_bias_shape[4] = {0, 0, 0, 0};
  std::int64_t d_bias_strides[4] = {0, 0, 0, 0};
  float* d_sinks = nullptr;  // FP32 (head)
  std::int64_t d_sinks_stride = 0;
  float* d_slopes = nullptr;  // FP32 (batch, head); batch stride 0 = summed over
  std::int64_t d_slopes_batch_stride = 0;
  std::int64_t d_slopes_head_stride = 0;
};

// One sequence of a problem whose indices the host can read, every index resolved and checked.
struct Sequence {
  std::int64_t index = 0;     // in the batch
  std::int64_t q_batch = 0;   // row of q's batch dimension (0 when ragged)
  std::int64_t q_token = 0;   // first token in q (0 when dense)
  std::int64_t q_len = 0;     // queries used
  std::int64_t q_rows = 0;    // rows of out to write: q_len, and padding rows behind it (0, -inf)
  std::int64_t kv_batch = 0;  // row of k's batch dimension (cache row; 0 when ragged)
  std::int64_t kv_token = 0;  // first key's token in k (left padding added; ragged: the offset)
  std::int64_t kv_len = 0;    // keys used
  std::int64_t q_start = 0;   // position of query 0
  std::int64_t kv_start = 0;  // position of key 0
  const std::int32_t* pages = nullptr;  // this sequence's row of the page table; ids are clamped
                                        // into [0, problem.pages) where they are used
};

}  // namespace rapt
