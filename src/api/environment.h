// SPDX-License-Identifier: Apache-2.0 OR MIT
// The front door's environment variables, read once, at the first call that needs them.
#pragma once
#include <string>

#include "status.h"

namespace rapt {

struct Environment {
  std::string backend;  // RAPT_BACKEND: the backend of calls that name none; "" = any
  bool check = false;   // RAPT_CHECK: indices in device memory are checked as those of the host are
  Status status;        // not ok: what is wrong with them, and every verb's answer
};

const Environment& environment();

}  // namespace rapt
