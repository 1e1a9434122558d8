// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the Hopper forward has beside the other forwards: tensor maps, an order of tiles, and what
// it refuses.
#pragma once
#include "backend/cuda/driver.h"
#include "kernels/cuda/forward_config.h"
#include "kernels/cuda/hopper/params.h"
#include "problem.h"
#include "refusal.h"
#include "status.h"

namespace rapt::cuda {

// Whether there are enough rows a kv head for its tiles; for fewer another kernel is faster.
bool suits_hopper(const Problem& problem);

// Whether pages are so small that their rows are found one by one.
bool has_slots(const Problem& problem);

// What of the problem's layout the kernel does not take.
Refusal refuse_hopper_layout(const Problem& problem);

// Completes params, whose `forward` is filled, for a grid of at most `ctas`: maps, and the order.
Status set_hopper_params(const Driver& driver, const Problem& problem,
                         const kernels::ForwardConfig& config, int ctas,
                         kernels::HopperParams& params);

}  // namespace rapt::cuda
