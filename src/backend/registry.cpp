// SPDX-License-Identifier: Apache-2.0 OR MIT
// The backends of this build.
#include "backend/backend.h"
#include "backend/cpu/backend.h"
#include "backend/cuda/backend.h"

namespace rapt {

std::span<Backend* const> backends() {
  static Backend* const list[] = {&cuda::backend(), &cpu::backend()};
  return list;
}

}  // namespace rapt
