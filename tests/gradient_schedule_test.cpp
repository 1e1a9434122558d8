// SPDX-License-Identifier: Apache-2.0 OR MIT
// Rounds of a backward: every visible pair of a row and a key belongs to one item, and no two items
// of a round meet.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "plan/gradient_schedule.h"

namespace rapt {
namespace {

constexpr Grain kGrain = {.rows = 192, .block_kv = 128, .split_keys = 512, .split_items = 64};

bool overlap(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  return std::max(a, c) < std::min(b, d);
}

// Rows and keys that two items both add to, and elements of d_bias.
bool meet(const WorkItem& a, const WorkItem& b, const SharedBias& shared) {
  const bool rows = overlap(a.row_begin, a.row_end, b.row_begin, b.row_end);
  const bool keys = overlap(a.kv_begin, a.kv_end, b.kv_begin, b.kv_end);
  const bool same = a.sequence == b.sequence && a.kv_head == b.kv_head;
  const bool share = (shared.sequences || a.sequence == b.sequence) &&
                     (shared.heads || a.kv_head == b.kv_head) && (shared.sequences || shared.heads);
  return (same && (rows || keys)) || (share && keys);
}

void expect_apart(const GradientSchedule& schedule, const SharedBias& shared) {
  std::int64_t begin = 0;
  for (const std::int64_t end : schedule.round_ends) {
    ASSERT_LT(begin, end);
    for (std::int64_t a = begin; a < end; ++a) {
      for (std::int64_t b = begin; b < a; ++b) {
        EXPECT_FALSE(meet(schedule.items[static_cast<std::size_t>(a)],
                          schedule.items[static_cast<std::size_t>(b)], shared));
      }
    }
    begin = end;
  }
  EXPECT_EQ(begin, static_cast<std::int64_t>(schedule.items.size()));
}

struct Shape {
  std::vector<Extent> sequences;
  Heads heads;
  Band band;
};

const Shape kShapes[] = {
    {{{2048, 2048, 2048, 0}}, {1, 1}, {}},
    {{{2048, 2048, 2048, 0}}, {1, 1}, {RAPT_UNBOUNDED, 0, 0}},
    {{{700, 700, 2100, 1400}, {9, 9, 0, -9}, {0, 4, 70, 70}}, {2, 3}, {300, 4, 2}},
    {{{5000, 5000, 9000, 4000}, {64, 64, 5000, 4936}}, {2, 1}, {RAPT_UNBOUNDED, 0, 0}},
    {{}, {2, 1}, {}},
};

TEST(GradientSchedule, NoTwoItemsOfARoundMeet) {
  for (const Shape& shape : kShapes) {
    for (const SharedBias shared : {SharedBias{}, {true, false}, {false, true}, {true, true}}) {
      expect_apart(gradient_schedule(shape.sequences, shape.heads, shape.band, kGrain, shared),
                   shared);
    }
  }
}

TEST(GradientSchedule, EveryVisiblePairBelongsToOneItem) {
  for (const Shape& shape : kShapes) {
    const GradientSchedule schedule =
        gradient_schedule(shape.sequences, shape.heads, shape.band, kGrain, {});
    for (std::size_t s = 0; s < shape.sequences.size(); ++s) {
      const Extent& extent = shape.sequences[s];
      for (std::int64_t row = 0; row < extent.q_len * shape.heads.group; row += 37) {
        const std::int64_t token = row / shape.heads.group;
        const std::int64_t end = window_end(shape.band, token, extent.diagonal, extent.kv_len);
        for (std::int64_t key = window_begin(shape.band, token, extent.diagonal, extent.kv_len);
             key < end; key += 53) {
          const auto holds = [&](const WorkItem& item) {
            return item.sequence == static_cast<std::int64_t>(s) && item.kv_head == 0 &&
                   row >= item.row_begin && row < item.row_end && key >= item.kv_begin &&
                   key < item.kv_end;
          };
          EXPECT_EQ(std::count_if(schedule.items.begin(), schedule.items.end(), holds), 1);
        }
      }
    }
  }
}

TEST(GradientSchedule, OnePairIsCutAndManyAreNot) {
  const std::vector<Extent> one = {{4096, 4096, 4096, 0}}, many(64, one[0]);
  EXPECT_GT(gradient_schedule(one, {1, 1}, {}, kGrain, {}).round_ends.size(), 4U);
  EXPECT_EQ(gradient_schedule(many, {1, 1}, {}, kGrain, {}).round_ends.size(), 1U);
}

TEST(GradientSchedule, PlacesSumsOneSequenceAfterAnother) {
  const std::vector<Extent> two = {{3, 5, 7, 4}, {2, 2, 9, 7}};
  const GradientSchedule schedule = gradient_schedule(two, {2, 3}, {}, kGrain, {});
  EXPECT_EQ(schedule.first_row, (std::vector<std::int64_t>{0, 18, 30}));
  EXPECT_EQ(schedule.first_key, (std::vector<std::int64_t>{0, 14, 32}));
}

}  // namespace
}  // namespace rapt
