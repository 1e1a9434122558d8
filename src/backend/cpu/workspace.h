// SPDX-License-Identifier: Apache-2.0 OR MIT
// Slices of a workspace.
#pragma once
#include <cstddef>

namespace rapt::cpu {

constexpr std::size_t kAlignment = 64;

// Whole cache lines, so that every slice is aligned and no two workers share a line.
constexpr std::size_t rounded(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace rapt::cpu
