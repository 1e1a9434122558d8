// SPDX-License-Identifier: Apache-2.0 OR MIT
// A backward: the gradients' shapes, types and places in memory, beside those of their forward.
#include <algorithm>
#include <utility>

#include "api/call.h"
#include "api/say.h"
#include "api/sized.h"
#include "api/validate.h"

namespace rapt {
namespace {

FieldList gradients(const rapt_gradient& g) {
  FieldList list;
  list.add("dq", g.dq);
  list.add("dk", g.dk);
  list.add("dv", g.dv);
  list.add("d_bias", g.d_bias);
  list.add("d_sinks", g.d_sinks);
  list.add("d_slopes", g.d_slopes);
  return list;
}

// An optional gradient needs its input's group; it has that input's shape, in FP32.
Status check_optional(const Field& gradient, const rapt_tensor* model, const char* group) {
  if (!given(*gradient.tensor)) return {};
  if (model == nullptr) return invalid(say(gradient.name, ": the problem has no ", group));
  RAPT_RETURN_IF_ERROR(check_dtype(gradient, {RAPT_FP32}));
  rapt_tensor wanted = *model;
  wanted.dtype = RAPT_FP32;
  return check_like(gradient, {group, &wanted});
}

Status check_required_gradients(const rapt_gradient& g, const rapt_attention& a) {
  const std::pair<Field, Field> pairs[] = {{{"d_out", &g.d_out}, {"out", &a.out}},
                                           {{"dq", &g.dq}, {"q", &a.q}},
                                           {{"dk", &g.dk}, {"k", &a.k}},
                                           {{"dv", &g.dv}, {"v", &a.v}}};
  for (const auto& [gradient, model] : pairs) {
    RAPT_RETURN_IF_ERROR(check_given(gradient));
    RAPT_RETURN_IF_ERROR(check_like(gradient, model));
  }
  return {};
}

Status check_gradients(const rapt_gradient& g, const rapt_attention& a, Data data) {
  RAPT_RETURN_IF_ERROR(check_given({"lse", &a.lse}));
  FieldList fields;
  fields.add("q", a.q);
  fields.add("d_out", g.d_out);
  for (const Field& field : gradients(g)) fields.add(field);
  RAPT_RETURN_IF_ERROR(check_every(fields, data));
  RAPT_RETURN_IF_ERROR(check_required_gradients(g, a));
  const rapt_tensor* bias = a.bias != nullptr ? &a.bias->bias : nullptr;
  const rapt_tensor* sinks = a.sinks != nullptr ? &a.sinks->sinks : nullptr;
  const rapt_tensor* slopes = a.alibi != nullptr ? &a.alibi->slopes : nullptr;
  RAPT_RETURN_IF_ERROR(check_optional({"d_bias", &g.d_bias}, bias, "bias"));
  RAPT_RETURN_IF_ERROR(check_optional({"d_sinks", &g.d_sinks}, sinks, "sinks"));
  return check_optional({"d_slopes", &g.d_slopes}, slopes, "alibi");
}

Rows rows_of(const rapt_tensor& t, bool ragged) { return ragged ? ragged_rows(t) : dense_rows(t); }

float* floats(const rapt_tensor& t) { return static_cast<float*>(address(t)); }

// A dimension of one is a sum over what it was broadcast to.
std::int64_t sum_stride(const rapt_tensor& t, std::int32_t dimension) {
  return t.shape[dimension] == 1 ? 0 : stride(t, dimension);
}

void read_bias(const rapt_tensor& t, Gradient* out) {
  if (!given(t)) return;
  out->d_bias = floats(t);
  for (std::int32_t d = 0; d < 4; ++d) {
    out->d_bias_shape[d] = t.shape[d];
    out->d_bias_strides[d] = sum_stride(t, d);
  }
}

void read_heads(const rapt_gradient& g, Gradient* out) {
  if (given(g.d_sinks)) {
    out->d_sinks = floats(g.d_sinks);
    out->d_sinks_stride = stride(g.d_sinks, 0);
  }
  if (!given(g.d_slopes)) return;
  const bool by_batch = g.d_slopes.rank == 2;
  if (by_batch && g.d_slopes.shape[0] == 0) return;  // a batch of none has no slopes to write
  out->d_slopes = floats(g.d_slopes);
  out->d_slopes_batch_stride = by_batch ? stride(g.d_slopes, 0) : 0;
  out->d_slopes_head_stride = stride(g.d_slopes, by_batch ? 1 : 0);
}

void read_gradient(const rapt_gradient& g, const rapt_attention& a, Gradient* out) {
  const bool ragged_q = a.ragged != nullptr;
  const bool ragged_kv = ragged_q && given(a.ragged->kv_offsets);
  out->d_out = rows_of(g.d_out, ragged_q);
  out->dq = rows_of(g.dq, ragged_q);
  out->dk = rows_of(g.dk, ragged_kv);
  out->dv = rows_of(g.dv, ragged_kv);
  read_bias(g.d_bias, out);
  read_heads(g, out);
}

}  // namespace

Status validate_gradient(const rapt_gradient* gradient, Data data, Gradient* out) {
  rapt_gradient g;
  RAPT_RETURN_IF_ERROR(read_sized("gradient", gradient, &g));
  Call call;
  RAPT_RETURN_IF_ERROR(read_call("forward", g.forward, &call));
  const rapt_attention& a = call.problem;
  *out = {};
  RAPT_RETURN_IF_ERROR(validate_call(a, data, &out->forward));
  RAPT_RETURN_IF_ERROR(check_gradients(g, a, data));
  FieldList read = inputs(a);
  read.add("out", a.out);
  read.add("lse", a.lse);
  read.add("d_out", g.d_out);
  RAPT_RETURN_IF_ERROR(check_outputs(gradients(g), read, data));
  read_gradient(g, a, out);
  return {};
}

Status check_rows_apart(const Problem& forward, const std::vector<Sequence>& sequences) {
  if (forward.cache_row.data == nullptr) return {};
  std::vector<std::pair<std::int64_t, std::int64_t>> rows;  // and the sequence that each serves
  rows.reserve(sequences.size());
  for (const Sequence& s : sequences) rows.emplace_back(s.kv_batch, s.index);
  std::sort(rows.begin(), rows.end());
  const auto twice = std::adjacent_find(
      rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.first == b.first; });
  if (twice == rows.end()) return {};
  return unsupported(say("lengths.cache_row: row ", twice->first, " serves sequences ",
                         twice->second, " and ", (twice + 1)->second,
                         "; a gradient wants a row of its own for each"));
}

}  // namespace rapt
