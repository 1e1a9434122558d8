// SPDX-License-Identifier: Apache-2.0 OR MIT
// PeakMemory by the Linux kernel's accounts.
#include "bench/memory.h"

#include <malloc.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace rapt::bench {
namespace {

// A line of /proc/self/status, "VmRSS:   1234 kB", in bytes.
std::optional<std::int64_t> status_bytes(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::int64_t kilobytes = 0;
    if (word == key && status >> kilobytes) return kilobytes * 1024;
  }
  return std::nullopt;
}

}  // namespace

PeakMemory::PeakMemory() {
  malloc_trim(0);  // what was freed before must not hide what is allocated now
  std::ofstream reset("/proc/self/clear_refs");
  reset << "5" << std::flush;
  if (reset.good()) before_ = status_bytes("VmRSS:");
}

std::optional<std::int64_t> PeakMemory::bytes() const {
  const auto peak = status_bytes("VmHWM:");
  if (!before_ || !peak) return std::nullopt;
  return std::max<std::int64_t>(0, *peak - *before_);
}

}  // namespace rapt::bench
