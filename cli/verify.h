// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt verify`: random problems, or one that the caller names, against the float64 oracle.
#pragma once
#include <cstdint>
#include <string>

namespace rapt::cli {

struct VerifyOptions {
  std::int64_t count = 1000;  // problems to check; those that the library refuses do not count
  std::uint64_t seed = 1;     // of the generator
  std::string backend;        // "" = the library chooses
  std::string direction = "forward";
  std::string case_text;     // not "": check this one problem instead, and print its verdict
  std::string json;          // not "": write the report to this file
  std::int32_t threads = 0;  // 0 = the library's default
  bool quiet = false;        // no progress line
};

// Exit code of the process: 0 all passed, 1 one failed. Throws Failure (cli/failure.h): usage where
// case_text is not of the grammar, the library's status where it refuses the only case or the
// backend.
int run_verify(const VerifyOptions& options);

}  // namespace rapt::cli
