// SPDX-License-Identifier: Apache-2.0 OR MIT
// RAPT_BACKEND. RAPT_CHECK has no reader here: it asks for a checking pass over indices in device
// memory, and those in host memory are always checked.
#include "api/environment.h"

#include <cstdlib>

namespace rapt {

const Environment& environment() {
  // Never destroyed: static destructors may still call.
  static const Environment& once = *new Environment([] {
    const char* value = std::getenv("RAPT_BACKEND");
    return Environment{value == nullptr ? "" : value};
  }());
  return once;
}

}  // namespace rapt
