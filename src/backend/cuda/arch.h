// SPDX-License-Identifier: Apache-2.0 OR MIT
// A GPU architecture that code is compiled for: "sm_80", "sm_90a".
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace rapt::cuda {

struct Arch {
  std::int16_t number = 0;    // 90: compute capability 9.0
  std::int16_t specific = 0;  // 1: "sm_90a", the instructions that no other number has

  [[nodiscard]] std::string name() const { return "sm_" + std::to_string(number) + suffix(); }
  [[nodiscard]] const char* suffix() const { return specific != 0 ? "a" : ""; }
  friend bool operator==(const Arch&, const Arch&) = default;
};

// What to compile for on a device of this compute capability. Hopper and datacentre Blackwell have
// instructions (wgmma, tcgen05) that only their "a" names unlock.
inline Arch arch_of(int major, int minor) {
  const bool specific = major == 9 || major == 10;
  return {static_cast<std::int16_t>(10 * major + minor), static_cast<std::int16_t>(specific)};
}

// Reads "sm_90a"; false for anything else.
inline bool parse_arch(std::string_view text, Arch& arch) {
  if (!text.starts_with("sm_")) return false;
  text.remove_prefix(3);
  Arch read;
  if (text.ends_with('a')) {
    read.specific = 1;
    text.remove_suffix(1);
  }
  if (text.size() < 2 || text.size() > 3) return false;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return false;
    read.number = static_cast<std::int16_t>(10 * read.number + (digit - '0'));
  }
  arch = read;
  return true;
}

}  // namespace rapt::cuda
