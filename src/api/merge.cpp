// SPDX-License-Identifier: Apache-2.0 OR MIT
// Merging partial results.
#include "api/on_backend.h"
#include "api/validate.h"
#include "api/verbs.h"

namespace rapt {

Status merge(const rapt_merge_args* args, const rapt_options* options) {
  MergeJob job;
  RAPT_RETURN_IF_ERROR(validate_merge(args, &job));
  return on_backend(
      {"out[0]", job.device_kind, job.device_index}, options,
      [&](const Backend& backend, const Target& target) { return backend.merge(job, target); });
}

}  // namespace rapt
