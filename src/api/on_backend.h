// SPDX-License-Identifier: Apache-2.0 OR MIT
// Verbs without a kernel table go to the backend of their tensors' device.
#pragma once
#include "api/choose.h"
#include "api/validate.h"

namespace rapt {

// Calls verb(backend, target).
template <typename Verb>
Status on_backend(const Place& place, const rapt_options* options, Verb verb) {
  Target target;
  Backend* backend = nullptr;
  RAPT_RETURN_IF_ERROR(validate_options(options, &target));
  RAPT_RETURN_IF_ERROR(choose_backend(backends(), place, target, &backend));
  RAPT_RETURN_IF_ERROR(backend->usable(place.field, place.device_index));
  return verb(*backend, target);
}

}  // namespace rapt
