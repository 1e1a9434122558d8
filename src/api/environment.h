// SPDX-License-Identifier: Apache-2.0 OR MIT
// The front door's environment variable, read once, at the first call that needs it.
#pragma once
#include <string>

namespace rapt {

struct Environment {
  std::string backend;  // RAPT_BACKEND: the backend of calls that name none; "" = any
};

const Environment& environment();

}  // namespace rapt
