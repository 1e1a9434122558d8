// SPDX-License-Identifier: Apache-2.0 OR MIT
// Writing tokens into a paged cache, with or without rotary position embedding.
#include <algorithm>

#include "api/say.h"
#include "api/sized.h"
#include "api/validate.h"

namespace rapt {
namespace {

// The caller's structs at this library's sizes.
struct Append {
  rapt_append_args args = {};
  rapt_rope rope = {};
};

Status read_append(const rapt_append_args* from, Append* append) {
  RAPT_RETURN_IF_ERROR(read_sized("args", from, &append->args));
  return read_group("rope", &append->args.rope, &append->rope);
}

FieldList append_inputs(const rapt_append_args& a) {
  FieldList list;
  list.add("k", a.k);
  list.add("v", a.v);
  list.add("slots", a.slots);
  list.add("q", a.q);
  if (a.rope != nullptr) {
    list.add("rope.cos", a.rope->cos);
    list.add("rope.sin", a.rope->sin);
    list.add("rope.positions", a.rope->positions);
  }
  return list;
}

FieldList append_outputs(const rapt_append_args& a) {
  FieldList list;
  list.add("k_cache", a.k_cache);
  list.add("v_cache", a.v_cache);
  list.add("q_out", a.q_out);
  return list;
}

Status check_tensors(const rapt_append_args& a) {
  FieldList all = append_inputs(a);
  for (const Field& field : append_outputs(a)) all.add(field);
  for (const Field& field : all) {
    const bool optional = field.tensor == &a.q || field.tensor == &a.q_out;
    if (!optional) RAPT_RETURN_IF_ERROR(check_given(field));
    RAPT_RETURN_IF_ERROR(check_tensor(field, Data::required));
  }
  return check_device(all);
}

Status check_memory(const rapt_append_args& a) {
  const FieldList outputs = append_outputs(a);
  const bool in_place = same_view(a.q, a.q_out);
  for (const Field& output : outputs) {
    RAPT_RETURN_IF_ERROR(check_output(output));
    RAPT_RETURN_IF_ERROR(check_apart(output, outputs));
    for (const Field& input : append_inputs(a)) {
      const bool itself = output.tensor == &a.q_out && input.tensor == &a.q && in_place;
      if (!itself) RAPT_RETURN_IF_ERROR(check_apart(output, {&input, 1}));
    }
  }
  return {};
}

AppendSide side(const rapt_tensor& t) {
  return {{address(t), 0, stride(t, 0), stride(t, 1)}, t.shape[1], t.shape[2]};
}

Status read_cache(const rapt_append_args& a, AppendJob* job) {
  const PageFormat format = {a.layout, a.page_size};
  RAPT_RETURN_IF_ERROR(check_page_format("layout", "page_size", format));
  RAPT_RETURN_IF_ERROR(check_dtype(
      {"k_cache", &a.k_cache}, {RAPT_FP32, RAPT_FP16, RAPT_BF16, RAPT_FP8_E4M3, RAPT_FP8_E5M2}));
  RAPT_RETURN_IF_ERROR(check_dtype({"v_cache", &a.v_cache}, {a.k_cache.dtype}));
  PagedTensor k, v;
  RAPT_RETURN_IF_ERROR(
      read_paged_pair({"k_cache", &a.k_cache}, {"v_cache", &a.v_cache}, format, &k, &v));
  if (k.heads < 1) return invalid("k_cache: kv_heads is 0; must be 1 or more");
  RAPT_RETURN_IF_ERROR(check_dim({"k_cache", &a.k_cache}, "head_dim", k.dim));
  RAPT_RETURN_IF_ERROR(check_dim({"v_cache", &a.v_cache}, "value_dim", v.dim));
  job->dtype = static_cast<DType>(a.k_cache.dtype);
  job->k_pages = k.rows;
  job->v_pages = v.rows;
  job->page_size = a.page_size;
  job->pages = k.pages;
  job->k.heads = job->v.heads = k.heads;
  job->k.dim = k.dim;
  job->v.dim = v.dim;
  return {};
}

Status read_tokens(const rapt_append_args& a, AppendJob* job) {
  const Field k = {"k", &a.k};
  const Field v = {"v", &a.v};
  const Field slots = {"slots", &a.slots};
  RAPT_RETURN_IF_ERROR(check_dtype(k, {a.k_cache.dtype}));
  RAPT_RETURN_IF_ERROR(check_dtype(v, {a.k_cache.dtype}));
  RAPT_RETURN_IF_ERROR(check_dtype(slots, {RAPT_INT64}));
  RAPT_RETURN_IF_ERROR(check_shape(
      k, {{"tokens"}, {"kv_heads", job->k.heads, "k_cache"}, {"head_dim", job->k.dim, "k_cache"}}));
  const Dimension tokens = {"tokens", a.k.shape[0], "k"};
  RAPT_RETURN_IF_ERROR(check_shape(
      v, {tokens, {"kv_heads", job->v.heads, "v_cache"}, {"value_dim", job->v.dim, "v_cache"}}));
  RAPT_RETURN_IF_ERROR(check_shape(slots, {tokens}));
  job->tokens = tokens.size;
  job->k = side(a.k);
  job->v = side(a.v);
  job->slots = indices_of(a.slots);
  return {};
}

Status check_rope(const rapt_rope& r, const AppendJob& job) {
  const Field cos = {"rope.cos", &r.cos};
  const Field sin = {"rope.sin", &r.sin};
  const Field positions = {"rope.positions", &r.positions};
  if (r.rotary_dim < 2 || r.rotary_dim > job.k.dim || r.rotary_dim % 2 != 0) {
    return invalid(say("rope.rotary_dim: is ", r.rotary_dim, "; must be even, 2 to ", job.k.dim));
  }
  if (r.interleaved != 0 && r.interleaved != 1) {
    return invalid(say("rope.interleaved: is ", r.interleaved, "; must be 0 or 1"));
  }
  RAPT_RETURN_IF_ERROR(check_dtype(cos, {RAPT_FP32}));
  RAPT_RETURN_IF_ERROR(
      check_shape(cos, {{"positions"}, {"rotary_dim / 2", r.rotary_dim / 2, "rope.rotary_dim"}}));
  RAPT_RETURN_IF_ERROR(check_like(sin, cos));
  RAPT_RETURN_IF_ERROR(check_dtype(positions, {RAPT_INT32, RAPT_INT64}));
  RAPT_RETURN_IF_ERROR(check_shape(positions, {{"tokens", job.tokens, "k"}}));
  if (job.tokens == 0 || r.cos.shape[0] > 0) return {};
  return invalid("rope.cos: positions is 0; must be 1 or more");
}

Status read_rope(const rapt_append_args& a, AppendJob* job) {
  if (a.rope == nullptr) return {};
  const rapt_rope& r = *a.rope;
  RAPT_RETURN_IF_ERROR(check_rope(r, *job));
  job->rope.cos = static_cast<const float*>(address(r.cos));
  job->rope.sin = static_cast<const float*>(address(r.sin));
  job->rope.cos_stride = stride(r.cos, 0);
  job->rope.sin_stride = stride(r.sin, 0);
  job->rope.positions = indices_of(r.positions);
  job->rope.table_rows = r.cos.shape[0];
  job->rope.rotary_dim = r.rotary_dim;
  job->rope.interleaved = r.interleaved == 1;
  return {};
}

Status read_query(const rapt_append_args& a, AppendJob* job) {
  const Field q = {"q", &a.q};
  const Field q_out = {"q_out", &a.q_out};
  if (!given(a.q)) return given(a.q_out) ? invalid("q_out: is given without q") : Status{};
  if (a.rope == nullptr) return invalid("q: is given without rope");
  RAPT_RETURN_IF_ERROR(check_given(q_out));
  RAPT_RETURN_IF_ERROR(check_dtype(q, {a.k_cache.dtype}));
  RAPT_RETURN_IF_ERROR(check_shape(
      q, {{"tokens", job->tokens, "k"}, {"q_heads"}, {"head_dim", job->k.dim, "k_cache"}}));
  RAPT_RETURN_IF_ERROR(check_like(q_out, q));
  job->q = side(a.q);
  job->q_out = side(a.q_out).from;
  return {};
}

Status check_slots(const AppendJob& job) {
  const std::int64_t most = job.pages * job.page_size;  // fits, since the cache's elements do
  std::vector<std::int64_t> taken;
  taken.reserve(static_cast<std::size_t>(job.tokens));
  for (std::int64_t i = 0; i < job.tokens; ++i) {
    const std::int64_t slot = read_index(job.slots, i);
    if (slot == -1) continue;
    if (slot < 0 || slot >= most) {
      return invalid(say("slots: token ", i, " is ", slot, "; must be -1, or below ", most));
    }
    taken.push_back(slot);
  }
  std::sort(taken.begin(), taken.end());
  const auto twice = std::adjacent_find(taken.begin(), taken.end());
  return twice == taken.end() ? Status{} : invalid(say("slots: ", *twice, " is named twice"));
}

Status check_rope_positions(const AppendJob& job) {
  if (job.rope.rotary_dim == 0) return {};
  for (std::int64_t i = 0; i < job.tokens; ++i) {
    const std::int64_t position = read_index(job.rope.positions, i);
    if (position >= 0 && position < job.rope.table_rows) continue;
    return invalid(
        say("rope.positions: token ", i, " is ", position, ", rope.cos has ", job.rope.table_rows));
  }
  return {};
}

}  // namespace

Status validate_append(const rapt_append_args* args, AppendJob* job) {
  *job = {};
  Append append;
  RAPT_RETURN_IF_ERROR(read_append(args, &append));
  const rapt_append_args& a = append.args;
  RAPT_RETURN_IF_ERROR(check_tensors(a));
  RAPT_RETURN_IF_ERROR(read_cache(a, job));
  RAPT_RETURN_IF_ERROR(read_tokens(a, job));
  RAPT_RETURN_IF_ERROR(read_rope(a, job));
  RAPT_RETURN_IF_ERROR(read_query(a, job));
  RAPT_RETURN_IF_ERROR(check_memory(a));
  job->device_kind = static_cast<DeviceKind>(a.k_cache.device_kind);
  job->device_index = a.k_cache.device_index;
  return job->device_kind == DeviceKind::cpu ? check_appended(*job) : Status{};
}

Status check_appended(const AppendJob& job) {
  RAPT_RETURN_IF_ERROR(check_slots(job));
  return check_rope_positions(job);
}

}  // namespace rapt
