// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which kernel runs a problem, and why every other one does not. One walk over the backends' tables
// answers both.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "backend/backend.h"
#include "problem.h"
#include "status.h"

namespace rapt {

using Backends = std::span<Backend* const>;

// The first kernel that takes the problem; `unsupported` with every kernel's sentence if there is
// none.
Status choose(Backends backends, const Problem& problem, const Target& target, Choice* choice);
Status choose_backward(Backends backends, const Gradient& gradient, const Target& target,
                       Choice* choice);

// The answers of rapt_explain and rapt_explain_backward.
Status explain(Backends backends, const Problem& problem, const Target& target, std::string* json);
Status explain_backward(Backends backends, const Gradient& gradient, const Target& target,
                        std::string* json);

// Where the tensors of a verb without a kernel table live; `field` is one of them.
struct Place {
  const char* field;
  DeviceKind device;
  std::int32_t device_index;
};
Status choose_backend(Backends backends, const Place& place, const Target& target,
                      Backend** backend);

}  // namespace rapt
