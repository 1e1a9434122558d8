// SPDX-License-Identifier: Apache-2.0 OR MIT
// What was measured on, and which version of rapt.
#pragma once
#include <cstdint>
#include <string>

namespace rapt::bench {

struct Machine {
  std::string name;    // "AMD EPYC ..."
  std::string detail;  // instruction sets
  int cpus = 0;        // that this process may use
  std::int64_t memory_bytes = 0;
};
Machine this_machine();

// The commit that the program's own folder is a checkout of, "-dirty" behind it where files differ;
// "unknown" for an installed program.
std::string this_commit();

}  // namespace rapt::bench
