// SPDX-License-Identifier: Apache-2.0 OR MIT
// RAPT_BACKEND and RAPT_LOG. RAPT_CHECK has no reader here: it asks for a checking pass over
// indices in device memory, and those in host memory are always checked.
#include "api/environment.h"

#include <cstdio>
#include <cstdlib>

namespace rapt {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

const Environment& environment() {
  // Never destroyed: static destructors may still call.
  static const Environment& once = *new Environment{variable("RAPT_BACKEND"), variable("RAPT_LOG")};
  return once;
}

void log_line(const std::string& line) {
  if (environment().log.empty()) return;
  std::FILE* file = std::fopen(environment().log.c_str(), "a");
  if (file == nullptr) return;
  std::fputs((line + "\n").c_str(), file);  // one write, so that lines of threads stay whole
  std::fclose(file);
}

}  // namespace rapt
