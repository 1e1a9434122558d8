// SPDX-License-Identifier: Apache-2.0 OR MIT
// The paged cache's verbs: validate, find the backend, hand over.
#include "api/device_check.h"
#include "api/on_backend.h"
#include "api/validate.h"
#include "api/verbs.h"

namespace rapt {
namespace {

Status move_pages(const char* field, const PageJob& job, Status (*check)(const PageJob&),
                  const rapt_options* options) {
  return on_backend({field, job.device_kind, job.device_index}, options,
                    [&](const Backend& backend, const Target& target) {
                      RAPT_RETURN_IF_ERROR(check_on_device(job, check, backend, target));
                      return backend.move_pages(job, target);
                    });
}

}  // namespace

Status append(const rapt_append_args* args, const rapt_options* options) {
  AppendJob job;
  RAPT_RETURN_IF_ERROR(validate_append(args, &job));
  return on_backend({"k_cache", job.device_kind, job.device_index}, options,
                    [&](const Backend& backend, const Target& target) {
                      RAPT_RETURN_IF_ERROR(check_on_device(job, backend, target));
                      return backend.append(job, target);
                    });
}

Status copy_pages(const rapt_tensor* cache, const rapt_tensor* pairs, const rapt_options* options) {
  PageJob job;
  RAPT_RETURN_IF_ERROR(validate_copy(cache, pairs, &job));
  return move_pages("cache", job, check_copied, options);
}

Status swap_pages(const rapt_tensor* from, const rapt_tensor* to, const rapt_tensor* pairs,
                  const rapt_options* options) {
  PageJob job;
  RAPT_RETURN_IF_ERROR(validate_swap(from, to, pairs, &job));
  return move_pages("to", job, check_swapped, options);
}

Status clear_pages(const rapt_tensor* cache, const rapt_tensor* pages,
                   const rapt_options* options) {
  PageJob job;
  RAPT_RETURN_IF_ERROR(validate_clear(cache, pages, &job));
  return move_pages("cache", job, check_cleared, options);
}

}  // namespace rapt
