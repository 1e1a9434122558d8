// SPDX-License-Identifier: Apache-2.0 OR MIT
// The feature groups of attention: mask, softcap, ALiBi, bias, sinks, dropout, descale, and which
// lengths, offsets and positions go together.
#include <cmath>

#include "api/say.h"
#include "api/validate.h"

namespace rapt {
namespace {

bool is_ragged(const rapt_attention& a) { return a.ragged != nullptr; }
bool has_ragged_keys(const rapt_attention& a) {
  return is_ragged(a) && given(a.ragged->kv_offsets);
}

Status check_side(const char* field, std::int64_t keys) {
  if (keys >= 0) return {};
  return invalid(say(field, ": is ", keys, "; must be 0 or more, or RAPT_UNBOUNDED"));
}

Status read_mask(const rapt_attention& a, Problem* p) {
  if (a.mask == nullptr) return {};
  RAPT_RETURN_IF_ERROR(check_side("mask.left", a.mask->left));
  RAPT_RETURN_IF_ERROR(check_side("mask.right", a.mask->right));
  if (a.mask->sink_tokens < 0) {
    return invalid(say("mask.sink_tokens: is ", a.mask->sink_tokens, "; must be 0 or more"));
  }
  p->mask_left = a.mask->left;
  p->mask_right = a.mask->right;
  p->sink_tokens = a.mask->sink_tokens;
  return {};
}

Status read_scores(const rapt_attention& a, Problem* p) {
  p->scale = a.scale != nullptr ? *a.scale : 1.0F / std::sqrt(static_cast<float>(p->head_dim));
  if (!std::isfinite(p->scale)) return invalid(say("scale: is ", p->scale, "; must be finite"));
  if (a.softcap == nullptr) return {};
  const float cap = a.softcap->cap;
  if (std::isfinite(cap) && cap >= 0) {
    p->softcap = cap;
    return {};
  }
  return invalid(say("softcap.cap: is ", cap, "; must be finite and 0 or more"));
}

Status read_alibi(const rapt_attention& a, Problem* p) {
  if (a.alibi == nullptr) return {};
  const rapt_tensor& t = a.alibi->slopes;
  const Field slopes = {"alibi.slopes", &t};
  const Dimension heads = {"q_heads", p->q_heads, "q"};
  RAPT_RETURN_IF_ERROR(check_dtype(slopes, {RAPT_FP32}));
  if (t.rank == 1) {
    RAPT_RETURN_IF_ERROR(check_shape(slopes, {heads}));
  } else {
    RAPT_RETURN_IF_ERROR(check_shape(slopes, {{"batch", p->batch, "q"}, heads}));
  }
  p->alibi = static_cast<const float*>(address(t));
  p->alibi_batch_stride = t.rank == 1 ? 0 : stride(t, 0);
  p->alibi_head_stride = stride(t, t.rank - 1);
  return {};
}

// One dimension of the bias: broadcast, or as many as the problem has (`most`: or more).
Status check_bias_size(const char* name, std::int64_t size, std::int64_t wanted, bool most) {
  if (size == 1 || size == wanted || (most && size > 0)) return {};
  return invalid(say("bias.bias: ", name, " is ", size, "; must be 1 or ", wanted));
}

Status check_bias(const rapt_attention& a, const Problem& p) {
  const rapt_tensor& t = a.bias->bias;
  const Field bias = {"bias.bias", &t};
  RAPT_RETURN_IF_ERROR(check_dtype(bias, {RAPT_FP32, RAPT_FP16, RAPT_BF16}));
  RAPT_RETURN_IF_ERROR(check_shape(bias, {{"batch"}, {"q_heads"}, {"q_len"}, {"kv_len"}}));
  RAPT_RETURN_IF_ERROR(check_bias_size("batch", t.shape[0], p.batch, false));
  RAPT_RETURN_IF_ERROR(check_bias_size("q_heads", t.shape[1], p.q_heads, false));
  // Ragged and paged lengths are known later; resolve_sequences compares them with what is covered.
  RAPT_RETURN_IF_ERROR(check_bias_size("q_len", t.shape[2], p.q_len, is_ragged(a)));
  const bool any_keys = has_ragged_keys(a) || a.pages != nullptr;
  return check_bias_size("kv_len", t.shape[3], p.kv_len, any_keys);
}

Status read_bias(const rapt_attention& a, Problem* p) {
  if (a.bias == nullptr) return {};
  RAPT_RETURN_IF_ERROR(check_bias(a, *p));
  const rapt_tensor& t = a.bias->bias;
  p->bias = address(t);
  p->bias_dtype = static_cast<DType>(t.dtype);
  p->bias_batch_stride = stride(t, 0);
  p->bias_head_stride = stride(t, 1);
  p->bias_q_stride = stride(t, 2);
  p->bias_kv_stride = stride(t, 3);
  if (t.shape[2] != 1) p->bias_q_len = t.shape[2];
  if (t.shape[3] != 1) p->bias_kv_len = t.shape[3];
  return {};
}

Status read_sinks(const rapt_attention& a, Problem* p) {
  if (a.sinks == nullptr) return {};
  const Field sinks = {"sinks.sinks", &a.sinks->sinks};
  RAPT_RETURN_IF_ERROR(check_dtype(sinks, {RAPT_FP32}));
  RAPT_RETURN_IF_ERROR(check_shape(sinks, {{"q_heads", p->q_heads, "q"}}));
  p->sinks = static_cast<const float*>(address(a.sinks->sinks));
  p->sinks_stride = stride(a.sinks->sinks, 0);
  return {};
}

Status read_dropout(const rapt_attention& a, Problem* p) {
  if (a.dropout == nullptr) return {};
  const float probability = a.dropout->probability;
  if (!(probability >= 0 && probability < 1.0F - 1.0F / 512)) {
    return invalid(
        say("dropout.probability: is ", probability, "; must be 0 or more, below 1 - 1/512"));
  }
  p->dropout_keep = static_cast<std::int32_t>(std::lround(256 * (1.0 - probability)));
  p->dropout_seed = a.dropout->seed;
  p->dropout_offset = static_cast<std::uint32_t>(a.dropout->offset);
  return {};
}

// Where the factors of one tensor go; those of a paged cache may be one a head for all pages.
struct Factors {
  const float** data;
  std::int64_t* strides;
  bool paged;
};

Status read_factors(const Field& field, const Field& scaled, const Dimension& outer,
                    const Problem& p, const Factors& out) {
  const rapt_tensor& t = *field.tensor;
  if (!given(t)) return {};
  if (rapt_dtype_bytes(scaled.tensor->dtype) != 1) {
    return invalid(say(field.name, ": ", scaled.name, " is ", rapt_dtype_name(scaled.tensor->dtype),
                       "; only 8-bit tensors have factors"));
  }
  const Dimension heads = {"kv_heads", p.kv_heads, "k"};
  RAPT_RETURN_IF_ERROR(check_dtype(field, {RAPT_FP32}));
  const bool per_head = out.paged && t.rank == 1;
  RAPT_RETURN_IF_ERROR(per_head ? check_shape(field, {heads}) : check_shape(field, {outer, heads}));
  *out.data = static_cast<const float*>(address(t));
  out.strides[0] = per_head ? 0 : stride(t, 0);
  out.strides[1] = stride(t, t.rank - 1);
  return {};
}

Status read_descale(const rapt_attention& a, Problem* p) {
  if (a.descale == nullptr) return {};
  const rapt_descale& d = *a.descale;
  const Dimension batch = {"batch", p->batch, "q"};
  const Dimension pages = {"pages", p->pages, "k"};
  const bool paged = p->page_size > 0;
  const Dimension& cache = paged ? pages : batch;
  RAPT_RETURN_IF_ERROR(read_factors({"descale.q", &d.q}, {"q", &a.q}, batch, *p,
                                    {&p->q_descale, p->q_descale_strides, false}));
  RAPT_RETURN_IF_ERROR(read_factors({"descale.k", &d.k}, {"k", &a.k}, cache, *p,
                                    {&p->k_descale, p->k_descale_strides, paged}));
  return read_factors({"descale.v", &d.v}, {"v", &a.v}, cache, *p,
                      {&p->v_descale, p->v_descale_strides, paged});
}

Status check_offsets(const Field& field) { return check_dtype(field, {RAPT_INT32, RAPT_UINT32}); }

Status read_ragged(const rapt_attention& a, Problem* p) {
  if (a.ragged == nullptr) return {};
  const rapt_ragged& r = *a.ragged;
  RAPT_RETURN_IF_ERROR(check_offsets({"ragged.q_offsets", &r.q_offsets}));
  p->q_offsets = indices_of(r.q_offsets);
  if (!given(r.kv_offsets)) {
    if (r.max_kv_len == 0) return {};
    return invalid(say("ragged.max_kv_len: is ", r.max_kv_len, "; must be 0 without kv_offsets"));
  }
  if (r.max_kv_len < 0) {
    return invalid(say("ragged.max_kv_len: is ", r.max_kv_len, "; must be 0 or more"));
  }
  RAPT_RETURN_IF_ERROR(check_offsets({"ragged.kv_offsets", &r.kv_offsets}));
  p->kv_offsets = indices_of(r.kv_offsets);
  return {};
}

Status read_vector(const Field& field, std::initializer_list<rapt_dtype> dtypes, const Problem& p,
                   Indices* out) {
  if (!given(*field.tensor)) return {};
  RAPT_RETURN_IF_ERROR(check_dtype(field, dtypes));
  RAPT_RETURN_IF_ERROR(check_shape(field, {{"batch", p.batch, "q"}}));
  *out = indices_of(*field.tensor);
  return {};
}

// Lengths that another group already says, or that the cache's form has no use for.
Status check_lengths_fit(const rapt_attention& a, const rapt_lengths& l) {
  if (given(l.q_len) && is_ragged(a)) {
    return invalid("lengths.q_len: q is ragged; ragged.q_offsets says its lengths");
  }
  if (given(l.kv_len) && has_ragged_keys(a)) {
    return invalid("lengths.kv_len: k and v are ragged; ragged.kv_offsets says their lengths");
  }
  const char* form = has_ragged_keys(a) ? "ragged" : a.pages != nullptr ? "paged" : nullptr;
  if (form == nullptr) return {};
  for (const Field& field :
       {Field{"lengths.cache_row", &l.cache_row}, Field{"lengths.left_pad", &l.left_pad}}) {
    if (!given(*field.tensor)) continue;
    return invalid(say(field.name, ": k and v are ", form, "; it belongs to a dense cache"));
  }
  return {};
}

Status read_lengths(const rapt_attention& a, Problem* p) {
  const bool has_kv_len = a.lengths != nullptr && given(a.lengths->kv_len);
  if (a.pages != nullptr && !has_kv_len) {
    return invalid("lengths.kv_len: is not given; a paged cache needs it");
  }
  if (a.lengths == nullptr) return {};
  const rapt_lengths& l = *a.lengths;
  RAPT_RETURN_IF_ERROR(check_lengths_fit(a, l));
  RAPT_RETURN_IF_ERROR(read_vector({"lengths.q_len", &l.q_len}, {RAPT_INT32}, *p, &p->q_used));
  RAPT_RETURN_IF_ERROR(read_vector({"lengths.kv_len", &l.kv_len}, {RAPT_INT32}, *p, &p->kv_used));
  RAPT_RETURN_IF_ERROR(
      read_vector({"lengths.cache_row", &l.cache_row}, {RAPT_INT32}, *p, &p->cache_row));
  return read_vector({"lengths.left_pad", &l.left_pad}, {RAPT_INT32}, *p, &p->left_pad);
}

Status read_positions(const rapt_attention& a, Problem* p) {
  if (a.positions == nullptr) return {};
  const rapt_positions& s = *a.positions;
  RAPT_RETURN_IF_ERROR(
      read_vector({"positions.q_start", &s.q_start}, {RAPT_INT32, RAPT_INT64}, *p, &p->q_start));
  return read_vector({"positions.kv_start", &s.kv_start}, {RAPT_INT32, RAPT_INT64}, *p,
                     &p->kv_start);
}

}  // namespace

Status validate_groups(const rapt_attention& a, Problem* p) {
  RAPT_RETURN_IF_ERROR(read_mask(a, p));
  RAPT_RETURN_IF_ERROR(read_scores(a, p));
  RAPT_RETURN_IF_ERROR(read_alibi(a, p));
  RAPT_RETURN_IF_ERROR(read_bias(a, p));
  RAPT_RETURN_IF_ERROR(read_sinks(a, p));
  RAPT_RETURN_IF_ERROR(read_dropout(a, p));
  RAPT_RETURN_IF_ERROR(read_descale(a, p));
  RAPT_RETURN_IF_ERROR(read_ragged(a, p));
  RAPT_RETURN_IF_ERROR(read_lengths(a, p));
  return read_positions(a, p);
}

}  // namespace rapt
