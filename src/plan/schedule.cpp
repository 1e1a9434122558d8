// SPDX-License-Identifier: Apache-2.0 OR MIT
// The scheduler: cuts query rows into tiles, gives each tile the keys that its rows may see, and
// splits keys only where too few tiles would otherwise leave workers idle.
#include "plan/schedule.h"

#include <algorithm>
#include <utility>

namespace rapt {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

std::int64_t saturating_multiply(std::int64_t a, std::int64_t b) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

// Query rows of one sequence, the same for every kv head, and the keys that any of them may see.
struct Tile {
  std::int64_t row_begin = 0, row_end = 0;
  std::int64_t kv_begin = 0, kv_end = 0;

  [[nodiscard]] std::int64_t rows() const { return row_end - row_begin; }
  [[nodiscard]] std::int64_t keys() const { return kv_end - kv_begin; }
};

// How the keys of one tile are cut: `count` parts of whole blocks, the first of which holds
// kv_begin.
struct Cut {
  std::int64_t count = 1;
  std::int64_t first_block = 0;
  std::int64_t blocks = 0;
};

class Scheduler {
 public:
  Scheduler(std::span<const Extent> sequences, Heads heads, const Band& band, const Grain& grain)
      : sequences_(sequences), heads_(heads), band_(band), grain_(grain) {}

  Schedule run() {
    least_split_ = least_split();
    for (const std::int64_t sequence : heaviest_first()) {
      for (std::int64_t head = 0; head < heads_.kv_heads; head += grain_.kv_heads) {
        add_heads(sequence, head);
      }
    }
    return std::move(schedule_);
  }

 private:
  // Items that share out the kv heads of a tile.
  [[nodiscard]] std::int64_t head_items() const {
    return ceil_div(heads_.kv_heads, grain_.kv_heads);
  }

  [[nodiscard]] std::int64_t tiles_of(const Extent& extent) const {
    return ceil_div(saturating_multiply(extent.q_rows, heads_.group), grain_.rows);
  }

  [[nodiscard]] Tile tile(const Extent& extent, std::int64_t index) const {
    const std::int64_t rows = extent.q_rows * heads_.group;
    Tile tile;
    tile.row_begin = index * grain_.rows;
    tile.row_end = tile.row_begin + std::min(grain_.rows, rows - tile.row_begin);
    const std::int64_t first = tile.row_begin / heads_.group;
    const std::int64_t last = std::min((tile.row_end - 1) / heads_.group, extent.q_len - 1);
    if (first > last) return tile;  // padding alone: no keys
    const std::int64_t begin =
        band_.sink_tokens > 0 ? 0 : window_begin(band_, first, extent.diagonal, extent.kv_len);
    const std::int64_t end = window_end(band_, last, extent.diagonal, extent.kv_len);
    if (begin < end) tile.kv_begin = begin, tile.kv_end = end;
    return tile;
  }

  // The dearest tile of a sequence, about: the first and the last one with queries bound the
  // others.
  [[nodiscard]] double weight(const Extent& extent) const {
    if (extent.q_len <= 0) return 0;
    const std::int64_t last = (extent.q_len * heads_.group - 1) / grain_.rows;
    const Tile ends[] = {tile(extent, 0), tile(extent, last)};
    const auto cost = [](const Tile& t) {
      return static_cast<double>(t.rows()) * static_cast<double>(t.keys());
    };
    return std::max(cost(ends[0]), cost(ends[1]));
  }

  [[nodiscard]] std::vector<std::int64_t> heaviest_first() const {
    std::vector<std::pair<double, std::int64_t>> keyed;  // equals stay in the batch's order
    keyed.reserve(sequences_.size());
    for (const Extent& extent : sequences_) {
      keyed.emplace_back(-weight(extent), static_cast<std::int64_t>(keyed.size()));
    }
    std::sort(keyed.begin(), keyed.end());
    std::vector<std::int64_t> order;
    order.reserve(keyed.size());
    for (const auto& [minus_weight, sequence] : keyed) order.push_back(sequence);
    return order;
  }

  // Least keys of a split that this batch calls for; 0 = no splits at all.
  [[nodiscard]] std::int64_t least_split() const {
    if (grain_.split_keys <= 0) return 0;
    std::int64_t tiles = 0;
    for (const Extent& extent : sequences_) {
      tiles = saturating_add(tiles, saturating_multiply(tiles_of(extent), head_items()));
    }
    if (tiles >= grain_.split_items) return 0;
    // The share of one of split_items items, summed tile by tile because all keys may not fit.
    std::int64_t share = 0;
    for (const Extent& extent : sequences_) {
      for (std::int64_t t = 0; t < tiles_of(extent); ++t) {
        const std::int64_t keys = ceil_div(tile(extent, t).keys(), grain_.split_items);
        share = saturating_add(share, saturating_multiply(keys, head_items()));
      }
    }
    return std::max(grain_.split_keys, share);
  }

  // As many parts as keep each at least_split_ long, though the hull may begin or end inside a
  // block.
  [[nodiscard]] Cut cut(const Tile& tile) const {
    const std::int64_t block = grain_.block_kv;
    Cut cut;
    cut.first_block = tile.kv_begin / block;
    cut.blocks = ceil_div(tile.kv_end, block) - cut.first_block;
    if (least_split_ == 0) return cut;
    const std::int64_t missing =
        std::max(tile.kv_begin % block, (block - tile.kv_end % block) % block);
    const std::int64_t least_blocks = ceil_div(saturating_add(least_split_, missing), block);
    cut.count = std::max<std::int64_t>(1, cut.blocks / least_blocks);
    return cut;
  }

  void add_heads(std::int64_t sequence, std::int64_t head) {
    const Extent& extent = sequences_[static_cast<std::size_t>(sequence)];
    const std::int64_t tiles = tiles_of(extent);
    const bool last_first = band_.right != RAPT_UNBOUNDED;
    for (std::int64_t t = 0; t < tiles; ++t) {
      const Tile next = tile(extent, last_first ? tiles - 1 - t : t);
      WorkItem item{sequence,
                    head,
                    next.row_begin,
                    next.row_end,
                    next.kv_begin,
                    next.kv_end,
                    -1,
                    std::min(grain_.kv_heads, heads_.kv_heads - head)};
      const Cut parts = cut(next);
      if (parts.count == 1) {
        schedule_.items.push_back(item);
      } else {
        add_splits(item, parts);
      }
    }
  }

  void add_splits(const WorkItem& whole, const Cut& cut) {
    const std::int64_t rows = (whole.row_end - whole.row_begin) * whole.kv_heads;
    schedule_.combines.push_back({whole.sequence, whole.kv_head, whole.row_begin, whole.row_end,
                                  schedule_.partial_rows, cut.count, whole.kv_heads});
    WorkItem item = whole;
    for (std::int64_t split = 1; split <= cut.count; ++split) {
      const std::int64_t blocks =
          cut.blocks / cut.count * split + std::min(split, cut.blocks % cut.count);
      item.kv_end =
          split == cut.count ? whole.kv_end : (cut.first_block + blocks) * grain_.block_kv;
      item.partial = schedule_.partial_rows;
      schedule_.items.push_back(item);
      schedule_.partial_rows += rows;
      item.kv_begin = item.kv_end;
    }
  }

  std::span<const Extent> sequences_;
  Heads heads_;
  Band band_;
  Grain grain_;
  std::int64_t least_split_ = 0;
  Schedule schedule_;
};

// Tiles of all sequences and kv heads. A sequence of n rows has (n - 1) / rows + 1 tiles, and sums
// of floors stay under the floor of the sum.
std::int64_t tile_bound(const StepBounds& step, Heads heads, const Grain& grain) {
  const std::int64_t sequences = std::min(step.batch, step.q_tokens);
  if (sequences <= 0 || step.q_len <= 0) return 0;
  const std::int64_t all_rows = saturating_multiply(step.q_tokens, heads.group);
  const std::int64_t rows = saturating_multiply(step.q_len, heads.group);
  const std::int64_t by_total = saturating_add((all_rows - sequences) / grain.rows, sequences);
  const std::int64_t by_longest = saturating_multiply(sequences, ceil_div(rows, grain.rows));
  return saturating_multiply(std::min(by_total, by_longest),
                             ceil_div(heads.kv_heads, grain.kv_heads));
}

}  // namespace

Schedule make_schedule(std::span<const Extent> sequences, Heads heads, const Band& band,
                       const Grain& grain) {
  return Scheduler(sequences, heads, band, grain).run();
}

ScheduleBounds schedule_bounds(const StepBounds& step, Heads heads, const Grain& grain) {
  ScheduleBounds bounds;
  const std::int64_t tiles = tile_bound(step, heads, grain);
  bounds.items = tiles;
  const std::int64_t parts = grain.split_keys > 0 ? step.kv_len / grain.split_keys : 0;
  const std::int64_t split_tiles = std::min(tiles, grain.split_items - 1);
  if (parts < 2 || split_tiles <= 0) return bounds;
  // Splits are no shorter than keys / split_items, so there are at most split_items of them, and
  // every tile has at least one.
  const std::int64_t split_items = std::min(saturating_add(split_tiles, grain.split_items),
                                            saturating_multiply(split_tiles, parts));
  const std::int64_t rows =
      saturating_multiply(std::min(grain.rows, saturating_multiply(step.q_len, heads.group)),
                          std::min(grain.kv_heads, heads.kv_heads));
  bounds.items = std::max(tiles, split_items);
  bounds.combines = split_tiles;
  bounds.partial_rows = saturating_multiply(split_items, rows);
  return bounds;
}

}  // namespace rapt
