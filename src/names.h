// SPDX-License-Identifier: Apache-2.0 OR MIT
// The words that sentences use for the library's own numbers.
#pragma once
#include <string>

#include "problem.h"
#include "rapt/rapt.h"

namespace rapt {

inline const char* name_of(DType dtype) { return rapt_dtype_name(static_cast<rapt_dtype>(dtype)); }

inline const char* name_of(DeviceKind kind) {
  switch (kind) {
    case DeviceKind::cpu:
      return "cpu";
    case DeviceKind::cuda:
      return "cuda";
    case DeviceKind::vulkan:
      return "vulkan";
    default:
      return "metal";
  }
}

// "rapt 0.1.0"
inline std::string name_of_version() {
  return "rapt " + std::to_string(RAPT_VERSION_MAJOR) + "." + std::to_string(RAPT_VERSION_MINOR) +
         "." + std::to_string(RAPT_VERSION_PATCH);
}

}  // namespace rapt
