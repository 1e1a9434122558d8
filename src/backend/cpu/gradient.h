// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CPU's backward: the sums that a schedule's items add to, its rounds, and the end.
#pragma once
#include <cstddef>
#include <span>

#include "backend/backend.h"
#include "backend/cpu/kernel.h"
#include "work_list.h"

namespace rapt::cpu {

std::size_t gradient_bytes(const Gradient& gradient, const GradientSchedule& schedule,
                           const Kernels& kernels, const Target& target);

void run_gradient(const Gradient& gradient, std::span<const Sequence> sequences,
                  const GradientSchedule& schedule, const Kernels& kernels, std::byte* workspace,
                  const Target& target);

}  // namespace rapt::cpu
