// SPDX-License-Identifier: Apache-2.0 OR MIT
// Merging partial results.
#include "api/choose.h"
#include "api/validate.h"
#include "api/verbs.h"

namespace rapt {

Status merge(const rapt_merge_args* args, const rapt_options* options) {
  MergeJob job;
  Target target;
  Backend* backend = nullptr;
  RAPT_RETURN_IF_ERROR(validate_merge(args, &job));
  RAPT_RETURN_IF_ERROR(validate_options(options, &target));
  RAPT_RETURN_IF_ERROR(choose_backend(backends(), {"out[0]", job.device_kind}, target, &backend));
  return backend->merge(job, target);
}

}  // namespace rapt
