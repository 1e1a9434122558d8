// SPDX-License-Identifier: Apache-2.0 OR MIT
// A problem as kernels take it, and what its sizes must be for that.
#pragma once
#include "backend/cuda/driver.h"
#include "backend/cuda/forward_configs.h"
#include "kernels/cuda/forward_params.h"
#include "problem.h"
#include "refusal.h"

namespace rapt::cuda {

// Sizes, tensors, indices and features; how the work is divided is the caller's.
kernels::ForwardParams problem_params(const Problem& problem);

// Lengths and blocks travel as 32-bit integers into the kernels.
inline constexpr std::int64_t kMostBlocks = INT32_MAX;
Refusal refuse_lengths(const Problem& problem);

// Says that no tile fits the device's shared memory.
Refusal refuse_tiles(const Problem& problem, const Device& device);

const Device& device_of(const Problem& problem);
ForwardLimits limits_of(const Device& device);

}  // namespace rapt::cuda
