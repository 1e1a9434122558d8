// SPDX-License-Identifier: Apache-2.0 OR MIT
// What merging partial results is compiled for. Read by the host's compiler and by NVRTC.
#pragma once
#include "element.h"

namespace rapt::kernels {

struct MergeConfig {
  Element element = Element::bf16;
  int aligned = 1;  // every row begins on 16 bytes
  int chained = 0;  // one of several launches, which hand the sum so far on

  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("element", &MergeConfig::element);
    visit("aligned", &MergeConfig::aligned);
    visit("chained", &MergeConfig::chained);
  }
};

constexpr int kMergeThreads = 128;
constexpr int kMergeLanes = 8;  // threads of a row: 128 bytes at a time
constexpr int kMergeRows = kMergeThreads / kMergeLanes;

}  // namespace rapt::kernels
