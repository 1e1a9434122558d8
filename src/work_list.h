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

// The items of a backward, in rounds. Within a round no two items share query rows or keys of a kv
// head, nor an element of d_bias, so each adds to its sums alone; rounds follow each other in
// order.
struct GradientSchedule {
  std::vector<WorkItem> items;
  std::vector<std::int64_t> round_ends;  // in items
  // Where a sequence's sums begin, [batch + 1]: row r of kv head h is first_row + h * rows + r of
  // q_len * group rows a kv head, key j of it first_key + h * kv_len + j.
  std::vector<std::int64_t> first_row, first_key;
};

}  // namespace rapt
