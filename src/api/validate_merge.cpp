// SPDX-License-Identifier: Apache-2.0 OR MIT
// Merging partial results: every part alike, the merged tensors apart from all but one of them.
#include "api/say.h"
#include "api/sized.h"
#include "api/validate.h"

namespace rapt {
namespace {

struct Parts {
  std::vector<Field> out;
  std::vector<Field> lse;
};

Status list_parts(const rapt_merge_args& a, Parts* parts) {
  if (a.count < 1) return invalid(say("count: is ", a.count, "; must be 1 or more"));
  if (a.out == nullptr) return invalid("out: is null");
  if (a.lse == nullptr) return invalid("lse: is null");
  for (std::int64_t i = 0; i < a.count; ++i) {
    parts->out.push_back({"out", a.out + i, i});
    parts->lse.push_back({"lse", a.lse + i, i});
    for (const Field& field : {parts->out.back(), parts->lse.back()}) {
      RAPT_RETURN_IF_ERROR(check_given(field));
      RAPT_RETURN_IF_ERROR(check_tensor(field, Data::required));
    }
  }
  return {};
}

// Shapes of the first part; all others are compared with it.
Status read_first(const Field& out, const Field& lse, MergeJob* job) {
  const rapt_tensor& t = *out.tensor;
  RAPT_RETURN_IF_ERROR(check_dtype(out, {RAPT_FP32, RAPT_FP16, RAPT_BF16}));
  RAPT_RETURN_IF_ERROR(check_dtype(lse, {RAPT_FP32}));
  const bool ragged = t.rank == 3;
  if (!ragged) {
    RAPT_RETURN_IF_ERROR(check_shape(out, {{"batch"}, {"q_len"}, {"q_heads"}, {"value_dim"}}));
  }
  job->batch = ragged ? 1 : t.shape[0];
  job->tokens = t.shape[t.rank - 3];
  job->heads = t.shape[t.rank - 2];
  job->dim = t.shape[t.rank - 1];
  job->dtype = static_cast<DType>(t.dtype);
  job->device_kind = static_cast<DeviceKind>(t.device_kind);
  job->device_index = t.device_index;
  RAPT_RETURN_IF_ERROR(check_dim(out, "value_dim", job->dim));
  const Dimension batch = {"batch", job->batch, "out[0]"};
  const Dimension heads = {"q_heads", job->heads, "out[0]"};
  const Dimension tokens = {"tokens", job->tokens, "out[0]"};
  return ragged ? check_shape(lse, {heads, tokens}) : check_shape(lse, {batch, heads, tokens});
}

Rows out_rows(const rapt_tensor& t) {
  const std::int64_t batch = t.rank == 4 ? stride(t, 0) : 0;
  return {address(t), batch, stride(t, t.rank - 3), stride(t, t.rank - 2)};
}

Rows lse_rows(const rapt_tensor& t) {
  const std::int64_t batch = t.rank == 3 ? stride(t, 0) : 0;
  return {address(t), batch, stride(t, t.rank - 1), stride(t, t.rank - 2)};
}

Status read_parts(const Parts& parts, MergeJob* job) {
  RAPT_RETURN_IF_ERROR(read_first(parts.out[0], parts.lse[0], job));
  for (const Field& out : parts.out) {
    RAPT_RETURN_IF_ERROR(check_like(out, parts.out[0]));
    job->out.push_back(out_rows(*out.tensor));
  }
  for (const Field& lse : parts.lse) {
    RAPT_RETURN_IF_ERROR(check_like(lse, parts.lse[0]));
    job->lse.push_back(lse_rows(*lse.tensor));
  }
  return {};
}

// A merged tensor may be one of the parts it is made of, element for element.
Status check_merged(const Field& merged, const std::vector<Field>& own,
                    const std::vector<Field>& others) {
  RAPT_RETURN_IF_ERROR(check_output(merged));
  RAPT_RETURN_IF_ERROR(check_apart(merged, others));
  for (const Field& part : own) {
    if (same_view(*merged.tensor, *part.tensor)) continue;
    RAPT_RETURN_IF_ERROR(check_apart(merged, {&part, 1}));
  }
  return {};
}

Status check_devices(const Parts& parts, const Field& merged_out, const Field& merged_lse) {
  std::vector<Field> all = parts.out;
  all.insert(all.end(), parts.lse.begin(), parts.lse.end());
  all.push_back(merged_out);
  all.push_back(merged_lse);
  return check_device(all);
}

}  // namespace

Status validate_merge(const rapt_merge_args* args, MergeJob* job) {
  *job = {};
  rapt_merge_args a = {};
  RAPT_RETURN_IF_ERROR(read_sized("args", args, &a));
  Parts parts;
  RAPT_RETURN_IF_ERROR(list_parts(a, &parts));
  const Field out = {"merged_out", &a.merged_out};
  const Field lse = {"merged_lse", &a.merged_lse};
  RAPT_RETURN_IF_ERROR(check_given(out));
  RAPT_RETURN_IF_ERROR(check_tensor(out, Data::required));
  RAPT_RETURN_IF_ERROR(check_tensor(lse, Data::required));
  RAPT_RETURN_IF_ERROR(check_devices(parts, out, lse));
  RAPT_RETURN_IF_ERROR(read_parts(parts, job));
  RAPT_RETURN_IF_ERROR(check_like(out, parts.out[0]));
  RAPT_RETURN_IF_ERROR(check_merged(out, parts.out, parts.lse));
  job->merged_out = out_rows(a.merged_out);
  if (!given(a.merged_lse)) return {};
  RAPT_RETURN_IF_ERROR(check_like(lse, parts.lse[0]));
  RAPT_RETURN_IF_ERROR(check_merged(lse, parts.lse, parts.out));
  RAPT_RETURN_IF_ERROR(check_apart(lse, {&out, 1}));
  job->merged_lse = lse_rows(a.merged_lse);
  return {};
}

}  // namespace rapt
