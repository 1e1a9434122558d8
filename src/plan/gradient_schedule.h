// SPDX-License-Identifier: Apache-2.0 OR MIT
// How a backward is divided: as the forward, a pure function of lengths, mask and the kernel's
// grain, so that sums are added in the same order whoever computes them.
#pragma once
#include <span>

#include "plan/schedule.h"

namespace rapt {

// Which (sequence, kv head) pairs add to the same elements of d_bias.
struct SharedBias {
  bool sequences = false;
  bool heads = false;
};

// A pair's query rows and keys are cut into n segments each, and round r computes segment i of the
// rows against segment (i + r) mod n of the keys: a Latin square, so items of a round never meet.
// Pairs that share d_bias take turns. n grows with the pair's share of the work, up to
// grain.split_items for a pair alone; a segment has grain.split_keys keys or more, and whole tiles
// of grain.rows rows.
GradientSchedule gradient_schedule(std::span<const Extent> sequences, Heads heads, const Band& band,
                                   const Grain& grain, const SharedBias& shared);

}  // namespace rapt
