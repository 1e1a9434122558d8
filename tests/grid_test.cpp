// SPDX-License-Identifier: Apache-2.0 OR MIT
// The grid of a device: covers every row and every key, splits only where blocks are few, and never
// depends on anything but bounds and grain.
#include "plan/grid.h"

#include <gtest/gtest.h>

#include <random>

namespace rapt {
namespace {

constexpr Grain kGrain = {.rows = 64, .block_kv = 32, .split_keys = 128, .split_items = 264};

TEST(Grid, ManyBlocksAreNotSplit) {
  const Grid grid = make_grid({16, 16 * 1024, 1024, 1024}, {16, 1}, kGrain);
  EXPECT_EQ(grid.tiles, 16);
  EXPECT_EQ(grid.splits, 1);
  EXPECT_EQ(grid.split_keys, 1024);
  EXPECT_EQ(grid.blocks, 16 * 16 * 16);
  EXPECT_EQ(grid.partial_rows, 0);
}

TEST(Grid, FewBlocksShareOutTheKeys) {
  const Grid grid = make_grid({1, 1, 1, 8192}, {8, 4}, kGrain);
  EXPECT_EQ(grid.tiles, 1);
  EXPECT_EQ(grid.split_keys, 256);  // 33 parts of 248.2, rounded up to whole blocks
  EXPECT_EQ(grid.splits, 32);
  EXPECT_EQ(grid.partial_rows, 8 * 32 * 64);
}

TEST(Grid, NothingToDoIsNoBlocks) {
  EXPECT_EQ(make_grid({0, 0, 16, 16}, {8, 1}, kGrain).blocks, 0);
  EXPECT_EQ(make_grid({4, 0, 0, 16}, {8, 1}, kGrain).blocks, 0);
  EXPECT_EQ(make_grid({4, 64, 16, 0}, {8, 1}, kGrain).blocks, 32);  // rows to write, no keys
}

TEST(Grid, CountsThatWouldNotFitAreTheLargestNumber) {
  const Grid grid = make_grid({INT64_MAX / 2, 1, 1 << 20, 1 << 20}, {1 << 20, 1}, kGrain);
  EXPECT_EQ(grid.blocks, INT64_MAX);
}

TEST(Grid, SplitsCoverEveryKeyOnceAndEachHasOne) {
  std::mt19937_64 random(20261124);
  const auto up_to = [&](std::int64_t most) {
    return 1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(most));
  };
  for (int i = 0; i < 2000; ++i) {
    const Grain grain = {.rows = std::int64_t{16} << up_to(4),
                         .block_kv = std::int64_t{16} << up_to(4),
                         .split_keys = i % 5 == 0 ? 0 : up_to(1024),
                         .split_items = up_to(400)};
    const StepBounds step = {up_to(8), 0, up_to(300), up_to(40000)};
    const Heads heads = {up_to(8), up_to(8)};
    const Grid grid = make_grid(step, heads, grain);
    EXPECT_GE(grid.tiles * grain.rows, step.q_len * heads.group);
    EXPECT_LT((grid.tiles - 1) * grain.rows, step.q_len * heads.group);
    EXPECT_GE(grid.splits * grid.split_keys, step.kv_len);
    EXPECT_LT((grid.splits - 1) * grid.split_keys, step.kv_len);
    const std::int64_t items = step.batch * heads.kv_heads * grid.tiles;
    EXPECT_EQ(grid.blocks, items * grid.splits);
    if (grid.splits == 1) continue;
    EXPECT_LE(grid.blocks, grain.split_items);
    EXPECT_GE(grid.split_keys, grain.split_keys);
    EXPECT_EQ(grid.split_keys % grain.block_kv, 0);
    EXPECT_EQ(grid.partial_rows, grid.blocks * grain.rows);
  }
}

}  // namespace
}  // namespace rapt
