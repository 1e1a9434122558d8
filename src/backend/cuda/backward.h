// SPDX-License-Identifier: Apache-2.0 OR MIT
// A gradient becomes launches: rows prepared, the products, d_bias, and rows finished.
#pragma once
#include <cstddef>

#include "backend/backend.h"
#include "backend/cuda/backward_configs.h"
#include "backend/cuda/driver.h"
#include "problem.h"
#include "refusal.h"
#include "status.h"

namespace rapt::cuda {

// Why none of the kind's kernels computes the gradient on the device.
Refusal refuse_backward(BackwardKind kind, const Gradient& gradient, const Device& device);

std::size_t backward_workspace_bytes(BackwardKind kind, const Gradient& gradient);

// Queues the kernels on the target's stream. Workspace is the device's memory.
Status backward(BackwardKind kind, const Gradient& gradient, void* workspace, const Target& target);

}  // namespace rapt::cuda
