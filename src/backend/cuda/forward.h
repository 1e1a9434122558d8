// SPDX-License-Identifier: Apache-2.0 OR MIT
// A problem becomes launches: parameters, grid, and the combine behind a split.
#pragma once
#include <cstddef>

#include "backend/backend.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/forward_configs.h"
#include "problem.h"
#include "refusal.h"
#include "status.h"
#include "work_list.h"

namespace rapt::cuda {

// Why none of the kind's kernels computes the problem on the device.
Refusal refuse_forward(ForwardKind kind, const Problem& problem, const Device& device);

Grain forward_grain(ForwardKind kind, const Problem& problem, const Device& device);

// Bytes for the partial rows of a grid.
std::size_t forward_workspace_bytes(const Problem& problem, std::int64_t partial_rows);

// Compiles and loads what forward() would launch; prepare_forward() returns before it is done.
Status load_forward(ForwardKind kind, const Problem& problem, const Grid& grid,
                    const Target& target);
Status prepare_forward(ForwardKind kind, const Problem& problem, const Grid& grid,
                       const Target& target);

// Queues the kernels on the target's stream. Workspace is the device's memory.
Status forward(ForwardKind kind, const Problem& problem, const Grid& grid, void* workspace,
               const Target& target);

}  // namespace rapt::cuda
