// SPDX-License-Identifier: Apache-2.0 OR MIT
// Schedule: every work item of one call, or the grid of a device that finds its own. What the
// planner makes and a backend runs, so it stands beside work.h; apart from it because files
// compiled for wide instruction sets must not see std::vector.
#pragma once
#include <cstdint>
#include <vector>

#include "work.h"

namespace rapt {

struct Schedule {
  std::vector<WorkItem> items;
  std::vector<CombineItem> combines;
  std::int64_t partial_rows = 0;  // rows of partial results that need a place
  Grid grid;                      // problems on a device: instead of items and combines
};

}  // namespace rapt
