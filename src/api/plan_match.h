// SPDX-License-Identifier: Apache-2.0 OR MIT
// Whether a problem is the one that a plan was made and uploaded for. Nothing here allocates unless
// it refuses.
#pragma once
#include <cstddef>
#include <span>

#include "plan/schedule.h"
#include "problem.h"
#include "status.h"

namespace rapt {

// Heads, dimensions, types, mask and the groups given. Free to differ: strides, addresses, the
// scale, the cap, seed and offset, and sizes that the lengths then settle.
Status match_problem(const Problem& planned, const Problem& problem);

Status match_batch(std::size_t uploaded, const Problem& problem);

// The same for a problem on a device, whose lengths only the device reads, within the sizes that
// the problem says.
Status match_bounds(const StepBounds& bounds, const Problem& problem);

Status match_lengths(std::span<const Extent> uploaded, const Problem& problem,
                     std::span<const Sequence> sequences);

}  // namespace rapt
