// SPDX-License-Identifier: Apache-2.0 OR MIT
// How a command ends when it cannot do what was asked: an exit code and a sentence, thrown by
// whoever notices and caught in main, which prints the sentence.
#pragma once
#include <stdexcept>
#include <string>

#include "rapt/rapt.h"

namespace rapt::cli {

enum ExitCode : int {
  kDone = 0,
  kWrong = 1,  // a check failed, or an answer was wrong
  kUsage = 2,  // the command line makes no sense
  kInvalidArgument = 3,
  kUnsupported = 4,
  kOutOfMemory = 5,
  kDeviceError = 6,
  kInternal = 7,
};

// The library's answers follow in the order of rapt_status.
inline ExitCode exit_code(rapt_status status) {
  return status == RAPT_OK ? kDone : static_cast<ExitCode>(status + kUsage);
}

class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  [[nodiscard]] ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// Throws the library's own sentence unless the call went well.
inline void require_ok(rapt_status status) {
  if (status != RAPT_OK) throw Failure(exit_code(status), rapt_error_message());
}

}  // namespace rapt::cli
