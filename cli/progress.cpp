// SPDX-License-Identifier: Apache-2.0 OR MIT
// Progress by a carriage return and "erase to the end of the line".
#include "cli/progress.h"

#include <unistd.h>

#include <cstdio>

namespace rapt::cli {

Progress::Progress() : terminal_(isatty(STDERR_FILENO) == 1) {}

Progress::~Progress() {
  if (open_) std::fputs("\r\033[K", stderr);
}

void Progress::show(const std::string& what) {
  const auto now = std::chrono::steady_clock::now();
  if (!terminal_ && now < next_) return;
  next_ = now + std::chrono::seconds(10);
  std::fprintf(stderr, terminal_ ? "\r\033[K%s" : "%s\n", what.c_str());
  std::fflush(stderr);
  open_ = terminal_;
}

}  // namespace rapt::cli
