// SPDX-License-Identifier: Apache-2.0 OR MIT
// How a device divides a problem whose lengths only it can read. A pure function of bounds and the
// kernel's grain, as the schedule is.
#pragma once
#include <cstdint>

#include "plan/schedule.h"
#include "work.h"

namespace rapt {

// Splits keys as far as grain.split_items asks for more blocks, in parts of whole blocks of keys
// and at least grain.split_keys long. INT64_MAX where a count would not fit.
Grid make_grid(const StepBounds& step, Heads heads, const Grain& grain);

// The same as a schedule.
Schedule grid_schedule(const StepBounds& step, Heads heads, const Grain& grain);

}  // namespace rapt
