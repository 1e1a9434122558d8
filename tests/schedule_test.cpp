// SPDX-License-Identifier: Apache-2.0 OR MIT
// Properties of the scheduler over random batches, masks and grains: it covers each visible score
// once, its splits recombine, its items balance, and it stays inside what schedule_bounds promises.
#include "plan/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace rapt {
namespace {

struct Batch {
  std::vector<Extent> extents;
  Heads heads;
  Band band;
  Grain grain;
};

using Random = std::mt19937_64;

std::int64_t pick(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

// Lengths, positions and bands that often meet: empty sequences, padding, rows that see nothing.
Batch random_batch(std::uint64_t seed) {
  Random random(seed);
  Batch batch;
  batch.heads = {pick(random, 1, 3), pick(random, 1, 4)};
  for (std::int64_t i = pick(random, 0, 5); i > 0; --i) {
    Extent extent;
    extent.q_len = pick(random, 0, 3) == 0 ? pick(random, 0, 2) : pick(random, 0, 40);
    extent.q_rows = extent.q_len + (pick(random, 0, 2) == 0 ? pick(random, 0, 30) : 0);
    extent.kv_len = pick(random, 0, 3) == 0 ? pick(random, 0, 3) : pick(random, 0, 300);
    extent.diagonal =
        pick(random, 0, 1) == 0 ? extent.kv_len - extent.q_len : pick(random, -80, 320);
    batch.extents.push_back(extent);
  }
  if (pick(random, 0, 1) == 0) batch.band.left = pick(random, 0, 60);
  if (pick(random, 0, 1) == 0) batch.band.right = pick(random, 0, 20);
  if (pick(random, 0, 2) == 0) batch.band.sink_tokens = pick(random, 1, 40);
  batch.grain.rows = pick(random, 1, 24);
  batch.grain.block_kv = std::int64_t{1} << pick(random, 0, 5);
  batch.grain.split_keys = pick(random, 0, 3) == 0 ? 0 : pick(random, 1, 90);
  batch.grain.split_items = pick(random, 0, 60);
  batch.grain.kv_heads = pick(random, 1, 4);
  return batch;
}

Schedule schedule_of(const Batch& b) { return make_schedule(b.extents, b.heads, b.band, b.grain); }

const Extent& extent_of(const Batch& b, std::int64_t sequence) {
  return b.extents[static_cast<std::size_t>(sequence)];
}

bool visible(const Extent& extent, const Band& band, std::int64_t i, std::int64_t j) {
  if (i >= extent.q_len || j >= extent.kv_len) return false;
  const std::int64_t key = j - extent.diagonal;
  if (band.right != RAPT_UNBOUNDED && key > i + band.right) return false;
  return band.left == RAPT_UNBOUNDED || key >= i - band.left || j < band.sink_tokens;
}

std::int64_t rows_of(const WorkItem& item) { return item.row_end - item.row_begin; }
std::int64_t keys_of(const WorkItem& item) { return item.kv_end - item.kv_begin; }

// How often items cover (sequence, head, row, key).
using Counts = std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t>, int>;

Counts coverage(const Schedule& schedule) {
  Counts counts;
  for (const WorkItem& item : schedule.items) {
    for (std::int64_t row = item.row_begin; row < item.row_end; ++row) {
      for (std::int64_t key = item.kv_begin; key < item.kv_end; ++key) {
        for (std::int64_t head = 0; head < item.kv_heads; ++head) {
          ++counts[{item.sequence, item.kv_head + head, row, key}];
        }
      }
    }
  }
  return counts;
}

class ScheduleProperties : public testing::TestWithParam<std::uint64_t> {
 protected:
  const Batch batch_ = random_batch(GetParam());
  const Schedule schedule_ = schedule_of(batch_);
};

TEST_P(ScheduleProperties, EveryVisibleScoreIsCoveredOnce) {
  const Counts counts = coverage(schedule_);
  for (const auto& [place, count] : counts) ASSERT_EQ(count, 1);
  for (std::size_t s = 0; s < batch_.extents.size(); ++s) {
    const Extent& extent = batch_.extents[s];
    for (std::int64_t row = 0; row < extent.q_rows * batch_.heads.group; ++row) {
      for (std::int64_t key = 0; key < extent.kv_len; ++key) {
        if (!visible(extent, batch_.band, row / batch_.heads.group, key)) continue;
        for (std::int64_t head = 0; head < batch_.heads.kv_heads; ++head) {
          ASSERT_EQ(counts.count({static_cast<std::int64_t>(s), head, row, key}), 1U);
        }
      }
    }
  }
}

// A row is finished by one item without partial results or by one combine, padding rows included.
TEST_P(ScheduleProperties, EveryRowIsFinishedOnce) {
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, int> finished;
  const auto finish = [&](const auto& item) {
    for (std::int64_t row = item.row_begin; row < item.row_end; ++row) {
      for (std::int64_t head = 0; head < item.kv_heads; ++head) {
        ++finished[{item.sequence, item.kv_head + head, row}];
      }
    }
  };
  for (const WorkItem& item : schedule_.items) {
    if (item.partial < 0) finish(item);
  }
  for (const CombineItem& item : schedule_.combines) finish(item);
  std::int64_t rows = 0;
  for (const Extent& e : batch_.extents) {
    rows += e.q_rows * batch_.heads.group * batch_.heads.kv_heads;
  }
  EXPECT_EQ(static_cast<std::int64_t>(finished.size()), rows);
  for (const auto& [row, count] : finished) ASSERT_EQ(count, 1);
}

TEST_P(ScheduleProperties, ItemsStayInsideTheirSequenceAndTheGrain) {
  for (const WorkItem& item : schedule_.items) {
    const Extent& extent = extent_of(batch_, item.sequence);
    ASSERT_LT(item.row_begin, item.row_end);
    ASSERT_EQ(item.row_begin % batch_.grain.rows, 0);
    ASSERT_LE(rows_of(item), batch_.grain.rows);
    ASSERT_GE(item.kv_heads, 1);
    ASSERT_LE(item.kv_heads, batch_.grain.kv_heads);
    ASSERT_LE(item.kv_head + item.kv_heads, batch_.heads.kv_heads);
    ASSERT_LE(item.row_end, extent.q_rows * batch_.heads.group);
    ASSERT_LE(0, item.kv_begin);
    ASSERT_LE(item.kv_begin, item.kv_end);
    ASSERT_LE(item.kv_end, extent.kv_len);
  }
}

// Without sink tokens the first and last key of a tile are seen by one of its rows.
TEST_P(ScheduleProperties, KeysAreClippedToTheBand) {
  const auto seen = [&](const WorkItem& item, std::int64_t key) {
    for (std::int64_t row = item.row_begin; row < item.row_end; ++row) {
      const std::int64_t i = row / batch_.heads.group;
      if (visible(extent_of(batch_, item.sequence), batch_.band, i, key)) return true;
    }
    return false;
  };
  if (batch_.band.sink_tokens > 0) return;
  for (const WorkItem& item : schedule_.items) {
    if (item.partial >= 0 || keys_of(item) == 0) continue;
    ASSERT_TRUE(seen(item, item.kv_begin));
    ASSERT_TRUE(seen(item, item.kv_end - 1));
  }
}

TEST_P(ScheduleProperties, SplitsRecombineInOrder) {
  std::map<std::int64_t, const WorkItem*> by_partial;
  for (const WorkItem& item : schedule_.items) {
    if (item.partial < 0) continue;
    ASSERT_TRUE(by_partial.emplace(item.partial, &item).second);
  }
  std::int64_t rows = 0;
  for (const CombineItem& combine : schedule_.combines) {
    ASSERT_GE(combine.splits, 2);
    ASSERT_EQ(combine.partial, rows);
    std::int64_t next_key = -1;
    for (std::int64_t split = 0; split < combine.splits; ++split) {
      ASSERT_EQ(by_partial.count(rows), 1U);
      const WorkItem& item = *by_partial[rows];
      ASSERT_EQ(std::tie(item.sequence, item.kv_head, item.row_begin, item.row_end),
                std::tie(combine.sequence, combine.kv_head, combine.row_begin, combine.row_end));
      ASSERT_TRUE(split == 0 || item.kv_begin == next_key);
      ASSERT_TRUE(split == 0 || item.kv_begin % batch_.grain.block_kv == 0);
      next_key = item.kv_end;
      ASSERT_EQ(item.kv_heads, combine.kv_heads);
      rows += rows_of(item) * item.kv_heads;
      by_partial.erase(item.partial);
    }
  }
  EXPECT_EQ(rows, schedule_.partial_rows);
  EXPECT_TRUE(by_partial.empty());
}

// Whole blocks are shared out evenly; the hull may begin and end inside one.
TEST_P(ScheduleProperties, SplitsOfATileAreEven) {
  for (const CombineItem& combine : schedule_.combines) {
    std::int64_t least = INT64_MAX, most = 0;
    for (const WorkItem& item : schedule_.items) {
      if (item.partial < combine.partial || item.sequence != combine.sequence ||
          item.kv_head != combine.kv_head || item.row_begin != combine.row_begin) {
        continue;
      }
      least = std::min(least, keys_of(item));
      most = std::max(most, keys_of(item));
    }
    ASSERT_LT(most - least, 2 * batch_.grain.block_kv);
  }
}

TEST_P(ScheduleProperties, SplitsOnlyWhereItemsAreFewAndKeysAreMany) {
  Batch whole = batch_;
  whole.grain.split_keys = 0;
  const Schedule unsplit = schedule_of(whole);
  EXPECT_TRUE(unsplit.combines.empty());
  if (static_cast<std::int64_t>(unsplit.items.size()) >= batch_.grain.split_items) {
    EXPECT_TRUE(schedule_.combines.empty());
  }
  for (const WorkItem& item : schedule_.items) {
    ASSERT_TRUE(item.partial < 0 || keys_of(item) >= batch_.grain.split_keys);
  }
}

TEST_P(ScheduleProperties, IsTheSameEveryTime) {
  const Schedule again = schedule_of(batch_);
  const auto fields = [](const WorkItem& i) {
    return std::tuple(i.sequence, i.kv_head, i.kv_heads, i.row_begin, i.row_end, i.kv_begin,
                      i.kv_end, i.partial);
  };
  EXPECT_TRUE(std::ranges::equal(schedule_.items, again.items, {}, fields, fields));
  EXPECT_EQ(schedule_.combines.size(), again.combines.size());
}

// The bounds of the batch itself, and those of a larger step, hold.
TEST_P(ScheduleProperties, StaysInsideItsBounds) {
  StepBounds step;
  for (const Extent& e : batch_.extents) {
    ++step.batch;
    step.q_tokens += e.q_rows;
    step.q_len = std::max(step.q_len, e.q_rows);
    step.kv_len = std::max(step.kv_len, e.kv_len);
  }
  for (const std::int64_t slack : {0, 1, 7}) {
    const StepBounds wide{step.batch + slack, step.q_tokens + slack, step.q_len + slack,
                          step.kv_len + 20 * slack};
    const ScheduleBounds bounds = schedule_bounds(wide, batch_.heads, batch_.grain);
    EXPECT_LE(static_cast<std::int64_t>(schedule_.items.size()), bounds.items);
    EXPECT_LE(static_cast<std::int64_t>(schedule_.combines.size()), bounds.combines);
    EXPECT_LE(schedule_.partial_rows, bounds.partial_rows);
  }
}

INSTANTIATE_TEST_SUITE_P(Random, ScheduleProperties, testing::Range<std::uint64_t>(0, 150));

// The makespan of workers that take items in order, over the mean load.
double imbalance(const Schedule& schedule, std::size_t workers) {
  std::vector<double> load(workers, 0.0);
  double total = 0;
  for (const WorkItem& item : schedule.items) {
    const double cost = static_cast<double>(rows_of(item)) * static_cast<double>(keys_of(item));
    *std::ranges::min_element(load) += cost;
    total += cost;
  }
  return *std::ranges::max_element(load) * static_cast<double>(workers) / total;
}

TEST(Schedule, BalancesCausalHeads) {
  const std::vector<Extent> one = {{4096, 4096, 4096, 0}};
  const Schedule schedule = make_schedule(one, {2, 1}, {RAPT_UNBOUNDED, 0, 0}, {128, 64, 0, 0});
  for (const std::size_t workers : {2U, 4U, 8U}) EXPECT_LT(imbalance(schedule, workers), 1.1);
}

TEST(Schedule, BalancesRaggedBatchesWhoseLongestComesLast) {
  std::vector<Extent> extents;
  for (std::int64_t n = 1; n <= 4096; n *= 2) extents.push_back({n, n, n, 0});
  const Schedule schedule = make_schedule(extents, {1, 4}, {}, {64, 64, 0, 0});
  for (const std::size_t workers : {2U, 4U, 8U}) EXPECT_LT(imbalance(schedule, workers), 1.1);
}

TEST(Schedule, BalancesTheSplitsOfADecodeStep) {
  std::vector<Extent> extents;
  for (std::int64_t kv_len : {32000, 500, 9000, 64}) extents.push_back({1, 1, kv_len, kv_len - 1});
  const Schedule schedule = make_schedule(extents, {2, 4}, {}, {32, 64, 256, 64});
  EXPECT_FALSE(schedule.combines.empty());
  for (const std::size_t workers : {2U, 4U, 8U}) EXPECT_LT(imbalance(schedule, workers), 1.25);
}

TEST(Schedule, KeepsTheItemsOfAHeadTogether) {
  const std::vector<Extent> one = {{1000, 1000, 1000, 0}};
  const Schedule schedule = make_schedule(one, {3, 2}, {RAPT_UNBOUNDED, 0, 0}, {64, 64, 0, 0});
  EXPECT_TRUE(std::ranges::is_sorted(schedule.items, {}, &WorkItem::kv_head));
}

constexpr Band kHugeBands[] = {
    {}, {INT64_MAX - 1, INT64_MAX - 1, 0}, {INT64_MAX - 1, 0, INT64_MAX}, {0, INT64_MAX - 1, 0}};

// The items of a row range follow each other without gap, all inside [0, kv_len).
void expect_contiguous(const Schedule& schedule, const std::vector<Extent>& extents) {
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, std::int64_t> next;
  for (const WorkItem& item : schedule.items) {
    ASSERT_LE(0, item.kv_begin);
    ASSERT_LE(item.kv_begin, item.kv_end);
    ASSERT_LE(item.kv_end, extents[static_cast<std::size_t>(item.sequence)].kv_len);
    const auto [end, first] =
        next.try_emplace({item.sequence, item.kv_head, item.row_begin}, item.kv_begin);
    ASSERT_EQ(end->second, item.kv_begin);
    end->second = item.kv_end;
  }
}

TEST(Schedule, HugeKeyCountsAndPositionsDoNotOverflow) {
  const std::vector<Extent> extents = {{5, 9, INT64_MAX, INT64_MAX},
                                       {1, 2, INT64_MAX, INT64_MIN / 2},
                                       {1, 1, INT64_MAX - 1, INT64_MAX - 2}};
  for (const Band& band : kHugeBands) {
    const Schedule schedule = make_schedule(extents, {1, 2}, band, {4, 64, 1024, 256});
    EXPECT_LE(schedule.items.size(), 2U * 256U);
    expect_contiguous(schedule, extents);
  }
}

TEST(Schedule, HugeQueryCountsDoNotOverflow) {
  const std::int64_t huge = std::int64_t{1} << 61;
  const std::vector<Extent> extents = {{huge, huge, huge, 0}, {1, huge, INT64_MAX, INT64_MIN}};
  for (const Band& band : kHugeBands) {
    const Schedule schedule = make_schedule(extents, {2, 2}, band, {huge / 4, 64, 0, 0});
    EXPECT_EQ(schedule.items.size(), 2U * 2U * 8U);
    expect_contiguous(schedule, extents);
  }
}

TEST(ScheduleBounds, AreSaturatedWhereACountWouldNotFit) {
  const StepBounds step{INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
  const ScheduleBounds bounds = schedule_bounds(step, {8, 4}, {64, 64, 1024, 256});
  EXPECT_EQ(bounds.items, INT64_MAX);
  EXPECT_LE(bounds.combines, 255);
  EXPECT_LE(bounds.partial_rows, 2 * 256 * 64);
}

TEST(ScheduleBounds, OfAnEmptyStepAreZero) {
  const ScheduleBounds bounds = schedule_bounds({}, {8, 4}, {64, 64, 1024, 256});
  EXPECT_EQ(bounds.items, 0);
  EXPECT_EQ(bounds.combines, 0);
  EXPECT_EQ(bounds.partial_rows, 0);
}

}  // namespace
}  // namespace rapt
