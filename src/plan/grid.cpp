// SPDX-License-Identifier: Apache-2.0 OR MIT
// The grid over a problem's bounds.
#include "plan/grid.h"

#include <algorithm>

namespace rapt {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

std::int64_t product(std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  return __builtin_mul_overflow(a, b, &result) ? INT64_MAX : result;
}

// Keys of a split when `items` blocks would do the whole problem.
std::int64_t keys_of_split(std::int64_t kv_len, std::int64_t items, const Grain& grain) {
  const std::int64_t most = kv_len / std::max<std::int64_t>(1, grain.split_keys);
  const std::int64_t splits = std::min(grain.split_items / items, most);
  if (grain.split_keys <= 0 || splits < 2) return kv_len;
  return product(ceil_div(ceil_div(kv_len, splits), grain.block_kv), grain.block_kv);
}

}  // namespace

Grid make_grid(const StepBounds& step, Heads heads, const Grain& grain) {
  Grid grid;
  grid.q_len = step.q_len;
  grid.tiles = ceil_div(product(step.q_len, heads.group), grain.rows);
  const std::int64_t items = product(product(step.batch, heads.kv_heads), grid.tiles);
  grid.split_keys = step.kv_len;
  if (items == 0 || step.kv_len == 0) {
    grid.blocks = items;
    return grid;
  }
  grid.split_keys = keys_of_split(step.kv_len, items, grain);
  grid.splits = ceil_div(step.kv_len, grid.split_keys);
  grid.blocks = product(items, grid.splits);
  if (grid.splits > 1) grid.partial_rows = product(grid.blocks, grain.rows);
  return grid;
}

Schedule grid_schedule(const StepBounds& step, Heads heads, const Grain& grain) {
  Schedule schedule;
  schedule.grid = make_grid(step, heads, grain);
  schedule.partial_rows = schedule.grid.partial_rows;
  return schedule;
}

}  // namespace rapt
