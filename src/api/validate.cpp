// SPDX-License-Identifier: Apache-2.0 OR MIT
// Attention: the tensors' shapes, types and places in memory.
#include "api/validate.h"

#include <algorithm>

#include "api/call.h"
#include "api/say.h"

namespace rapt {

Rows dense_rows(const rapt_tensor& t) {
  return {address(t), stride(t, 0), stride(t, 1), stride(t, 2)};
}

Rows ragged_rows(const rapt_tensor& t) { return {address(t), 0, stride(t, 0), stride(t, 1)}; }

Status check_every(const FieldList& fields, Data data) {
  for (const Field& field : fields) RAPT_RETURN_IF_ERROR(check_tensor(field, data));
  return check_device(fields);
}

namespace {

constexpr std::int64_t kMostDim = 512;

bool ragged_keys(const rapt_attention& a) {
  return a.ragged != nullptr && given(a.ragged->kv_offsets);
}

bool eight_bits(rapt_dtype dtype) { return rapt_dtype_bytes(dtype) == 1; }

Status check_required(const rapt_attention& a) {
  RAPT_RETURN_IF_ERROR(check_given({"q", &a.q}));
  RAPT_RETURN_IF_ERROR(check_given({"k", &a.k}));
  RAPT_RETURN_IF_ERROR(check_given({"v", &a.v}));
  RAPT_RETURN_IF_ERROR(check_given({"out", &a.out}));
  if (a.alibi != nullptr) RAPT_RETURN_IF_ERROR(check_given({"alibi.slopes", &a.alibi->slopes}));
  if (a.bias != nullptr) RAPT_RETURN_IF_ERROR(check_given({"bias.bias", &a.bias->bias}));
  if (a.sinks != nullptr) RAPT_RETURN_IF_ERROR(check_given({"sinks.sinks", &a.sinks->sinks}));
  if (a.ragged != nullptr) {
    RAPT_RETURN_IF_ERROR(check_given({"ragged.q_offsets", &a.ragged->q_offsets}));
  }
  return a.pages == nullptr ? Status{} : check_given({"pages.table", &a.pages->table});
}

Status check_dtypes(const rapt_attention& a, Problem* p) {
  const rapt_dtype dtype = a.q.dtype;
  RAPT_RETURN_IF_ERROR(
      check_dtype({"q", &a.q}, {RAPT_FP32, RAPT_FP16, RAPT_BF16, RAPT_FP8_E4M3, RAPT_FP8_E5M2}));
  const bool small_cache = rapt_dtype_bytes(dtype) == 2 && eight_bits(a.k.dtype);
  if (!small_cache) RAPT_RETURN_IF_ERROR(check_dtype({"k", &a.k}, {dtype}));
  RAPT_RETURN_IF_ERROR(check_dtype({"v", &a.v}, {a.k.dtype}));
  const Field out = {"out", &a.out};
  if (eight_bits(dtype)) {
    RAPT_RETURN_IF_ERROR(check_dtype(out, {dtype, RAPT_FP16, RAPT_BF16, RAPT_FP32}));
  } else if (dtype != RAPT_FP32) {
    RAPT_RETURN_IF_ERROR(check_dtype(out, {dtype, RAPT_FP32}));
  } else {
    RAPT_RETURN_IF_ERROR(check_dtype(out, {RAPT_FP32}));
  }
  if (given(a.lse)) RAPT_RETURN_IF_ERROR(check_dtype({"lse", &a.lse}, {RAPT_FP32}));
  p->dtype = static_cast<DType>(dtype);
  p->kv_dtype = static_cast<DType>(a.k.dtype);
  p->out_dtype = static_cast<DType>(a.out.dtype);
  return {};
}

Status read_ragged_q(const rapt_attention& a, Problem* p) {
  const rapt_tensor& offsets = a.ragged->q_offsets;
  RAPT_RETURN_IF_ERROR(check_shape({"q", &a.q}, {{"tokens"}, {"q_heads"}, {"head_dim"}}));
  RAPT_RETURN_IF_ERROR(check_shape({"ragged.q_offsets", &offsets}, {{"batch + 1"}}));
  if (offsets.shape[0] < 1)
    return invalid("ragged.q_offsets: is empty; must have batch + 1 entries");
  const std::int64_t most = a.ragged->max_q_len;
  if (most < 0) return invalid(say("ragged.max_q_len: is ", most, "; must be 0 or more"));
  p->batch = offsets.shape[0] - 1;
  p->q_tokens = a.q.shape[0];
  p->q_len = most > 0 ? std::min(most, p->q_tokens) : p->q_tokens;
  p->q_heads = a.q.shape[1];
  p->head_dim = a.q.shape[2];
  p->q = ragged_rows(a.q);
  return {};
}

Status read_q(const rapt_attention& a, Problem* p) {
  const Field q = {"q", &a.q};
  if (a.ragged != nullptr) {
    RAPT_RETURN_IF_ERROR(read_ragged_q(a, p));
  } else {
    RAPT_RETURN_IF_ERROR(check_shape(q, {{"batch"}, {"q_len"}, {"q_heads"}, {"head_dim"}}));
    p->batch = a.q.shape[0];
    p->q_len = a.q.shape[1];
    p->q_tokens = p->batch * p->q_len;  // fits, since q's elements do
    p->q_heads = a.q.shape[2];
    p->head_dim = a.q.shape[3];
    p->q = dense_rows(a.q);
  }
  if (p->q_heads < 1) return invalid("q: q_heads is 0; must be 1 or more");
  return check_dim(q, "head_dim", p->head_dim);
}

Status read_ragged_kv(const rapt_attention& a, Problem* p) {
  const rapt_tensor& offsets = a.ragged->kv_offsets;
  RAPT_RETURN_IF_ERROR(
      check_shape({"k", &a.k}, {{"tokens"}, {"kv_heads"}, {"head_dim", p->head_dim, "q"}}));
  p->kv_tokens = a.k.shape[0];
  p->kv_heads = a.k.shape[1];
  RAPT_RETURN_IF_ERROR(check_shape(
      {"v", &a.v}, {{"tokens", p->kv_tokens, "k"}, {"kv_heads", p->kv_heads, "k"}, {"value_dim"}}));
  RAPT_RETURN_IF_ERROR(check_shape({"ragged.kv_offsets", &offsets},
                                   {{"batch + 1", p->batch + 1, "ragged.q_offsets"}}));
  const std::int64_t most = a.ragged->max_kv_len;
  p->kv_len = most > 0 ? std::min(most, p->kv_tokens) : p->kv_tokens;
  p->value_dim = a.v.shape[2];
  p->k = ragged_rows(a.k);
  p->v = ragged_rows(a.v);
  return {};
}

Status read_dense_kv(const rapt_attention& a, Problem* p) {
  const bool any_row = a.lengths != nullptr && given(a.lengths->cache_row);
  const Dimension batch = {"batch", any_row ? -1 : p->batch, a.ragged ? "ragged.q_offsets" : "q"};
  RAPT_RETURN_IF_ERROR(
      check_shape({"k", &a.k}, {batch, {"kv_len"}, {"kv_heads"}, {"head_dim", p->head_dim, "q"}}));
  p->cache_rows = a.k.shape[0];
  p->kv_len = a.k.shape[1];
  p->kv_heads = a.k.shape[2];
  RAPT_RETURN_IF_ERROR(check_shape({"v", &a.v}, {{"batch", p->cache_rows, "k"},
                                                 {"kv_len", p->kv_len, "k"},
                                                 {"kv_heads", p->kv_heads, "k"},
                                                 {"value_dim"}}));
  p->value_dim = a.v.shape[3];
  p->k = dense_rows(a.k);
  p->v = dense_rows(a.v);
  if (multiply(p->batch, p->kv_len, &p->kv_tokens)) return {};
  return invalid("lengths.cache_row: batch * kv_len overflows 64 bits");
}

Status read_table(const rapt_attention& a, Problem* p) {
  const Field table = {"pages.table", &a.pages->table};
  RAPT_RETURN_IF_ERROR(check_dtype(table, {RAPT_INT32}));
  const char* source = a.ragged != nullptr ? "ragged.q_offsets" : "q";
  RAPT_RETURN_IF_ERROR(check_shape(table, {{"batch", p->batch, source}, {"max_pages"}}));
  p->max_pages = table.tensor->shape[1];
  p->page_table = static_cast<const std::int32_t*>(address(*table.tensor));
  p->page_table_stride = stride(*table.tensor, 0);
  const bool fits = multiply(p->max_pages, a.pages->page_size, &p->kv_len) &&
                    multiply(p->batch, p->kv_len, &p->kv_tokens);
  return fits ? Status{} : invalid("pages.table: batch * max_pages * page_size overflows 64 bits");
}

Status read_paged_kv(const rapt_attention& a, Problem* p) {
  const PageFormat format = {a.pages->layout, a.pages->page_size};
  RAPT_RETURN_IF_ERROR(check_page_format("pages.layout", "pages.page_size", format));
  PagedTensor k, v;
  RAPT_RETURN_IF_ERROR(read_paged_pair({"k", &a.k}, {"v", &a.v}, format, &k, &v));
  if (k.dim != p->head_dim) {
    return invalid(say("k: head_dim is ", k.dim, ", q has ", p->head_dim));
  }
  p->kv_heads = k.heads;
  p->value_dim = v.dim;
  p->k_pages = k.rows;
  p->v_pages = v.rows;
  p->page_size = format.page_size;
  p->page_layout = format.layout;
  p->pages = k.pages;
  return read_table(a, p);
}

Status read_kv(const rapt_attention& a, Problem* p) {
  if (a.pages != nullptr) {
    if (ragged_keys(a)) {
      return invalid("ragged.kv_offsets: k and v are paged; lengths.kv_len says their lengths");
    }
    RAPT_RETURN_IF_ERROR(read_paged_kv(a, p));
  } else if (ragged_keys(a)) {
    RAPT_RETURN_IF_ERROR(read_ragged_kv(a, p));
  } else {
    RAPT_RETURN_IF_ERROR(read_dense_kv(a, p));
  }
  if (p->kv_heads < 1) return invalid("k: kv_heads is 0; must be 1 or more");
  if (p->q_heads % p->kv_heads != 0) {
    return invalid(say("k: kv_heads is ", p->kv_heads, ", which does not divide q's ", p->q_heads));
  }
  return check_dim({"v", &a.v}, "value_dim", p->value_dim);
}

Status read_out(const rapt_attention& a, Problem* p) {
  const Field out = {"out", &a.out};
  const Field lse = {"lse", &a.lse};
  const Dimension heads = {"q_heads", p->q_heads, "q"};
  const Dimension dim = {"value_dim", p->value_dim, "v"};
  if (a.ragged != nullptr) {
    const Dimension tokens = {"tokens", p->q_tokens, "q"};
    RAPT_RETURN_IF_ERROR(check_shape(out, {tokens, heads, dim}));
    p->out = ragged_rows(a.out);
    if (!given(a.lse)) return {};
    RAPT_RETURN_IF_ERROR(check_shape(lse, {heads, tokens}));
    p->lse = {address(a.lse), 0, stride(a.lse, 1), stride(a.lse, 0)};
  } else {
    const Dimension batch = {"batch", p->batch, "q"};
    const Dimension q_len = {"q_len", p->q_len, "q"};
    RAPT_RETURN_IF_ERROR(check_shape(out, {batch, q_len, heads, dim}));
    p->out = dense_rows(a.out);
    if (!given(a.lse)) return {};
    RAPT_RETURN_IF_ERROR(check_shape(lse, {batch, heads, q_len}));
    p->lse = {address(a.lse), stride(a.lse, 0), stride(a.lse, 2), stride(a.lse, 1)};
  }
  return {};
}

}  // namespace

Status validate_call(const rapt_attention& a, Data data, Problem* p) {
  *p = {};
  RAPT_RETURN_IF_ERROR(check_required(a));
  FieldList fields = inputs(a);
  fields.add("out", a.out);
  fields.add("lse", a.lse);
  RAPT_RETURN_IF_ERROR(check_every(fields, data));
  p->device_kind = static_cast<DeviceKind>(a.q.device_kind);
  p->device_index = a.q.device_index;
  RAPT_RETURN_IF_ERROR(check_dtypes(a, p));
  RAPT_RETURN_IF_ERROR(read_q(a, p));
  RAPT_RETURN_IF_ERROR(read_kv(a, p));
  RAPT_RETURN_IF_ERROR(read_out(a, p));
  return validate_groups(a, p);
}

Status check_outputs(const FieldList& outputs, const FieldList& others, Data data) {
  for (const Field& output : outputs) {
    RAPT_RETURN_IF_ERROR(check_output(output));
    if (data == Data::ignored) continue;
    RAPT_RETURN_IF_ERROR(check_apart(output, others));
    RAPT_RETURN_IF_ERROR(check_apart(output, outputs));
  }
  return {};
}

Status check_dim(const Field& field, const char* name, std::int64_t dim) {
  if (dim >= 8 && dim <= kMostDim && dim % 8 == 0) return {};
  return invalid(
      say(label(field), ": ", name, " is ", dim, "; must be a multiple of 8, 8 to ", kMostDim));
}

Status validate(const rapt_attention* problem, Data data, Problem* out) {
  Call call;
  RAPT_RETURN_IF_ERROR(read_call("problem", problem, &call));
  const rapt_attention& a = call.problem;
  RAPT_RETURN_IF_ERROR(validate_call(a, data, out));
  FieldList outputs;
  outputs.add("out", a.out);
  outputs.add("lse", a.lse);
  return check_outputs(outputs, inputs(a), data);
}

}  // namespace rapt
