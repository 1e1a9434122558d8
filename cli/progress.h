// SPDX-License-Identifier: Apache-2.0 OR MIT
// What long work is doing, on standard error: one line that is written over on a terminal;
// elsewhere a line now and then.
#pragma once
#include <chrono>
#include <string>

namespace rapt::cli {

class Progress {
 public:
  Progress();
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(const std::string& what);

 private:
  bool terminal_;
  bool open_ = false;                           // a line without its end is on the terminal
  std::chrono::steady_clock::time_point next_;  // before, nothing is written elsewhere
};

}  // namespace rapt::cli
