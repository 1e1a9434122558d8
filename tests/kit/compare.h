// SPDX-License-Identifier: Apache-2.0 OR MIT
// The verdict on any problem's answer, whoever made its tensors: its error against the float64
// oracle, measured by the error that plain FP32 attention makes on the same input
// (docs/numerics.md).
#pragma once
#include "kit/workload.h"
#include "rapt/rapt.h"

namespace rapt::kit {

// Compares out and lse with the oracle.
Verdict check(const rapt_attention& problem, const Sample& sample = {});

// Compares the gradients with the oracle's; the forward's out and lse are taken as they are.
Verdict check_gradient(const rapt_gradient& gradient, const Sample& sample = {});

}  // namespace rapt::kit
