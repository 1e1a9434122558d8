// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the paged cache's kernels are compiled for. Read by the host's compiler and by NVRTC.
#pragma once
#include "element.h"

namespace rapt::kernels {

enum class RopeKind : int { none = 0, split = 1, interleaved = 2 };

struct AppendConfig {
  int bytes = 2;                    // of an element
  Element element = Element::bf16;  // matters where something is turned
  RopeKind rope = RopeKind::none;
  int aligned = 1;  // whatever is contiguous begins on a whole access

  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("bytes", &AppendConfig::bytes);
    visit("element", &AppendConfig::element);
    visit("rope", &AppendConfig::rope);
    visit("aligned", &AppendConfig::aligned);
  }
};

// Elements that a thread moves at once: 16 bytes, of 8-bit elements 8 (a head is a multiple of 8);
// not aligned, as few as rope allows, since its boundaries may be anywhere.
constexpr int append_width(const AppendConfig& c) {
  if (!c.aligned) return c.rope == RopeKind::interleaved ? 2 : 1;
  return c.bytes == 4 ? 4 : 8;
}

constexpr int kAppendThreads = 128;

struct MoveConfig {
  int unit_bytes = 16;  // of one access: 1, 2, 4, 8 or 16
  int clear = 0;        // zeros, else copies
  int strided = 0;      // a page is several runs

  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("unit_bytes", &MoveConfig::unit_bytes);
    visit("clear", &MoveConfig::clear);
    visit("strided", &MoveConfig::strided);
  }
};

constexpr int kMoveThreads = 256;
constexpr int kMoveLoads = 4;  // in flight a thread

}  // namespace rapt::kernels
