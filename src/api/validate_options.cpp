// SPDX-License-Identifier: Apache-2.0 OR MIT
// How and how large: options and the bounds of a plan.
#include <algorithm>
#include <string_view>

#include "api/environment.h"
#include "api/say.h"
#include "api/sized.h"
#include "api/validate.h"

namespace rapt {
namespace {

constexpr const char* kBackends[] = {"cpu", "cuda", "cudnn", "vulkan", "metal"};

bool names_none(std::string_view backend) { return backend.empty() || backend == "auto"; }

// A known backend that this build lacks is unsupported; any other word is a mistake.
Status check_backend(const char* field, std::string_view backend) {
  for (const Backend* b : backends()) {
    if (b->name() == backend) return {};
  }
  const auto* known = std::find(std::begin(kBackends), std::end(kBackends), backend);
  if (known == std::end(kBackends)) return invalid(say(field, ": \"", backend, "\" is no backend"));
  return unsupported(say(field, ": ", backend, " is not in this build"));
}

Status read_backend(const char* asked, Target* target) {
  const char* field = "options.backend";
  target->backend = asked == nullptr ? "" : asked;
  if (names_none(target->backend)) {
    field = "RAPT_BACKEND";
    target->backend = environment().backend;
  }
  if (!names_none(target->backend)) return check_backend(field, target->backend);
  target->backend = "";
  return {};
}

Status read_bound(const char* field, std::int64_t value, std::int64_t* bound) {
  if (value < 0) return invalid(say(field, ": is ", value, "; must be 0 or more"));
  if (value > 0) *bound = value;
  return {};
}

// Rows of the whole batch: as given, else a ragged q's own, else every row of the largest batch.
Status read_tokens_bound(const rapt_bounds& b, const Problem& p, StepBounds* out) {
  const bool ragged = p.q_offsets.data != nullptr;
  if (ragged) out->q_tokens = p.q_tokens;
  const bool fits = ragged || multiply(out->batch, out->q_len, &out->q_tokens);
  RAPT_RETURN_IF_ERROR(read_bound("bounds.q_tokens", b.q_tokens, &out->q_tokens));
  // The products of a plan's arithmetic.
  std::int64_t product = 0;
  if (fits && multiply(out->q_tokens, p.q_heads, &product) &&
      multiply(out->q_len, p.q_heads, &product) && multiply(out->batch, p.q_heads, &product) &&
      multiply(out->batch, out->kv_len, &product)) {
    return {};
  }
  return invalid("bounds: their products overflow 64 bits");
}

}  // namespace

Status validate_options(const rapt_options* options, Target* target) {
  rapt_options o = {};
  if (options != nullptr) RAPT_RETURN_IF_ERROR(read_sized("options", options, &o));
  RAPT_RETURN_IF_ERROR(environment().status);
  if (o.threads < 0) {
    return invalid(say("options.threads: is ", o.threads, "; must be 0 or more"));
  }
  target->kernel = o.kernel == nullptr ? "" : o.kernel;
  target->stream = o.stream;
  target->threads = o.threads;
  target->parallel_for = o.parallel_for;
  target->parallel_context = o.parallel_context;
  return read_backend(o.backend, target);
}

Status validate_bounds(const rapt_bounds* bounds, const Problem& p, StepBounds* out) {
  rapt_bounds b = {};
  if (bounds != nullptr) RAPT_RETURN_IF_ERROR(read_sized("bounds", bounds, &b));
  *out = {p.batch, 0, p.q_len, p.kv_len};
  RAPT_RETURN_IF_ERROR(read_bound("bounds.batch", b.batch, &out->batch));
  RAPT_RETURN_IF_ERROR(read_bound("bounds.kv_len", b.kv_len, &out->kv_len));
  RAPT_RETURN_IF_ERROR(read_bound("bounds.q_len", b.q_len, &out->q_len));
  if (p.q_used.data != nullptr && out->q_len != p.q_len) {
    return invalid(
        say("bounds.q_len: is ", b.q_len, "; with lengths.q_len it must be q's, ", p.q_len));
  }
  return read_tokens_bound(b, p, out);
}

}  // namespace rapt
