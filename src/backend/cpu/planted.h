// SPDX-License-Identifier: Apache-2.0 OR MIT
// Bugs that a build switch plants in the kernels (cmake -DRAPT_PLANT=N), to prove that `rapt
// verify` finds such bugs: tests/planted_test.py. Zero, and compiled away, in every other build.
#pragma once

namespace rapt::cpu {
namespace {

enum class Plant { none = 0, mask_edge = 1, lost_rescale = 2, stale_page = 3 };

#ifndef RAPT_PLANT
#define RAPT_PLANT 0
#endif
constexpr bool planted(Plant bug) { return static_cast<int>(bug) == RAPT_PLANT; }

}  // namespace
}  // namespace rapt::cpu
