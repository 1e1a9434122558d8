// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every kernel of attention is launched with these, so that the features' parameters stand once.
#include "backend/cuda/problem_params.h"

#include "backend/cuda/views.h"

namespace rapt::cuda {
namespace {

using kernels::ForwardParams;

constexpr std::int64_t kMostRows = std::int64_t{1} << 30;

int as_int(std::int64_t x) { return static_cast<int>(x); }  // refuse_lengths bounds them

void set_sizes(const Problem& p, ForwardParams& f) {
  f.q_tokens = p.q_tokens;
  f.kv_tokens = p.kv_tokens;
  f.cache_rows = p.cache_rows;
  f.batch = as_int(p.batch);
  f.q_len = as_int(p.q_len);
  f.kv_len = as_int(p.kv_len);
  f.q_heads = as_int(p.q_heads);
  f.kv_heads = as_int(p.kv_heads);
  f.group = as_int(p.q_heads / p.kv_heads);
  f.head_dim = as_int(p.head_dim);
  f.value_dim = as_int(p.value_dim);
}

void set_tensors(const Problem& p, ForwardParams& f) {
  f.q = param(p.q);
  f.k = param(p.k);
  f.v = param(p.v);
  f.out = param(p.out);
  f.lse = param(p.lse);
  if (p.page_size == 0) return;
  f.k_pages = param(p.k_pages);
  f.v_pages = param(p.v_pages);
  f.page_table = p.page_table;
  f.page_table_stride = p.page_table_stride;
  f.pages = p.pages;
  f.page_shift = __builtin_ctzll(static_cast<unsigned long long>(p.page_size));
}

void set_indices(const Problem& p, ForwardParams& f) {
  f.q_offsets = param(p.q_offsets);
  f.kv_offsets = param(p.kv_offsets);
  f.q_used = param(p.q_used);
  f.kv_used = param(p.kv_used);
  f.cache_row = param(p.cache_row);
  f.left_pad = param(p.left_pad);
  f.q_start = param(p.q_start);
  f.kv_start = param(p.kv_start);
}

void set_features(const Problem& p, ForwardParams& f) {
  f.mask_left = p.mask_left;
  f.mask_right = p.mask_right;
  f.sink_tokens = p.sink_tokens;
  f.scale = p.scale;
  f.softcap = p.softcap;
  f.alibi = p.alibi;
  f.alibi_batch_stride = p.alibi_batch_stride;
  f.alibi_head_stride = p.alibi_head_stride;
  f.bias = p.bias;
  f.bias_batch_stride = p.bias_batch_stride;
  f.bias_head_stride = p.bias_head_stride;
  f.bias_q_stride = p.bias_q_stride;
  f.bias_kv_stride = p.bias_kv_stride;
  f.bias_q_len = p.bias_q_len;
  f.bias_kv_len = p.bias_kv_len;
  f.sinks = p.sinks;
  f.sinks_stride = p.sinks_stride;
  f.dropout_seed = p.dropout_seed;
  f.dropout_offset = p.dropout_offset;
  f.dropout_keep = p.dropout_keep;
}

}  // namespace

ForwardParams problem_params(const Problem& p) {
  ForwardParams f = {};
  set_sizes(p, f);
  set_tensors(p, f);
  set_indices(p, f);
  set_features(p, f);
  return f;
}

Refusal refuse_lengths(const Problem& p) {
  const std::int64_t group = p.q_heads / p.kv_heads;
  if (p.q_len > kMostRows / group) {
    return Refusal::because("q: q_len is ", p.q_len, " for ", group,
                            " heads a kv head; this kernel takes 2^30 rows");
  }
  if (p.kv_len > kMostRows) {
    return Refusal::because("k: kv_len is ", p.kv_len, ", this kernel takes 2^30");
  }
  return {};
}

Refusal refuse_tiles(const Problem& p, const Device& device) {
  return Refusal::because("q: head_dim is ", p.head_dim, ", value_dim ", p.value_dim,
                          "; no tile of them fits the ", device.max_shared_bytes,
                          " bytes of shared memory");
}

const Device& device_of(const Problem& p) {
  return Driver::system().devices()[static_cast<std::size_t>(p.device_index)];
}

ForwardLimits limits_of(const Device& device) {
  return {device.max_shared_bytes, device.multiprocessors};
}

}  // namespace rapt::cuda
