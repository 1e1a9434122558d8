// SPDX-License-Identifier: Apache-2.0 OR MIT
// The front door's environment variables, read once, at the first call that needs them.
#pragma once
#include <string>

namespace rapt {

struct Environment {
  std::string backend;  // RAPT_BACKEND: the backend of calls that name none; "" = any
  std::string log;      // RAPT_LOG: a file to which every choice of a kernel is appended; "" = none
};

const Environment& environment();

// Appends one line to the file of RAPT_LOG; a file that cannot be written is let be.
void log_line(const std::string& line);

}  // namespace rapt
