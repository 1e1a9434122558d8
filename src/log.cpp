// SPDX-License-Identifier: Apache-2.0 OR MIT
// Opens, appends and closes, so that processes may share a log and a log may be moved away.
#include "log.h"

#include <cstdio>
#include <cstdlib>

namespace rapt {
namespace {

const std::string& path() {
  // Never destroyed: static destructors may still log.
  static const std::string& once = *new std::string([] {
    const char* value = std::getenv("RAPT_LOG");
    return value == nullptr ? "" : value;
  }());
  return once;
}

}  // namespace

bool logging() { return !path().empty(); }

void log_line(const std::string& line) {
  if (!logging()) return;
  std::FILE* file = std::fopen(path().c_str(), "a");
  if (file == nullptr) return;
  std::fputs((line + "\n").c_str(), file);  // one write, so that lines of threads stay whole
  std::fclose(file);
}

}  // namespace rapt
