// SPDX-License-Identifier: Apache-2.0 OR MIT
// How much memory a stretch of the program needed at its fullest, beyond what it began with.
#pragma once
#include <cstdint>
#include <optional>

namespace rapt::bench {

// From construction to bytes(): the highest resident size of the process less the one at the begin.
// Resets the kernel's own high-water mark (VmHWM, by writing 5 to /proc/self/clear_refs), so it
// sees every allocation of every thread, however short.
class PeakMemory {
 public:
  PeakMemory();
  [[nodiscard]] std::optional<std::int64_t> bytes()
      const;  // none where the system has no such mark

 private:
  std::optional<std::int64_t> before_;
};

}  // namespace rapt::bench
