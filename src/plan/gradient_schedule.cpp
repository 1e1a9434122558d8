// SPDX-License-Identifier: Apache-2.0 OR MIT
// Rounds of a backward.
#include "plan/gradient_schedule.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace rapt {
namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return a / b + (a % b != 0 ? 1 : 0); }

// Segments of `unit`s, as even as units allow.
struct Cut {
  std::int64_t size = 0, unit = 1, segments = 1;

  [[nodiscard]] std::int64_t begin(std::int64_t segment) const {
    const std::int64_t units = ceil_div(size, unit);
    const std::int64_t before = units / segments * segment + std::min(segment, units % segments);
    return std::min(before * unit, size);
  }
};

class Rounds {
 public:
  Rounds(std::span<const Extent> sequences, Heads heads, const Band& band, const Grain& grain,
         const SharedBias& shared)
      : sequences_(sequences), heads_(heads), band_(band), grain_(grain), shared_(shared) {}

  GradientSchedule run() {
    place_sums();
    for (const Extent& extent : sequences_) all_work_ += work(extent);
    std::vector<std::int64_t> order(sequences_.size());
    std::iota(order.begin(), order.end(), std::int64_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return work(at(a)) > work(at(b)); });
    if (!shared_.sequences) {
      add_sequences(order);
    } else {
      for (const std::int64_t& sequence : order) add_sequences({&sequence, 1});
    }
    return std::move(schedule_);
  }

 private:
  [[nodiscard]] const Extent& at(std::int64_t sequence) const {
    return sequences_[static_cast<std::size_t>(sequence)];
  }

  [[nodiscard]] double work(const Extent& extent) const {
    return static_cast<double>(extent.q_len) * static_cast<double>(extent.kv_len);
  }

  void place_sums() {
    std::int64_t rows = 0, keys = 0;
    for (const Extent& extent : sequences_) {
      schedule_.first_row.push_back(rows);
      schedule_.first_key.push_back(keys);
      rows += extent.q_len * heads_.kv_heads * heads_.group;
      keys += extent.kv_len * heads_.kv_heads;
    }
    schedule_.first_row.push_back(rows);
    schedule_.first_key.push_back(keys);
  }

  // Segments of the rows, and of the keys, of one (sequence, kv head).
  [[nodiscard]] std::int64_t segments(const Extent& extent) const {
    if (work(extent) == 0) return 0;
    const auto pairs = static_cast<double>(shared_.heads ? 1 : heads_.kv_heads);
    const double all = shared_.sequences ? work(extent) : all_work_;
    const double wanted =
        std::ceil(static_cast<double>(grain_.split_items) * work(extent) / (all * pairs));
    const std::int64_t most = std::min(ceil_div(extent.q_len * heads_.group, grain_.rows),
                                       extent.kv_len / grain_.split_keys);
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(wanted), 1,
                                    std::max<std::int64_t>(most, 1));
  }

  // The rounds of sequences that may run beside each other.
  void add_sequences(std::span<const std::int64_t> sequences) {
    const std::int64_t turns = shared_.heads ? heads_.kv_heads : 1;
    std::int64_t rounds = 0;
    for (const std::int64_t s : sequences) rounds = std::max(rounds, segments(at(s)));
    for (std::int64_t turn = 0; turn < turns; ++turn) {
      for (std::int64_t round = 0; round < rounds; ++round) {
        for (const std::int64_t s : sequences) {
          for (std::int64_t h = turn; h < heads_.kv_heads; h += turns) add_items(s, h, round);
        }
        close_round();
      }
    }
  }

  void add_items(std::int64_t sequence, std::int64_t kv_head, std::int64_t round) {
    const Extent& extent = at(sequence);
    const std::int64_t count = segments(extent);
    if (round >= count) return;
    const Cut rows{extent.q_len * heads_.group, grain_.rows, count};
    const Cut keys{extent.kv_len, grain_.block_kv, count};
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t j = (i + round) % count;
      const WorkItem item{sequence,          kv_head,       rows.begin(i),
                          rows.begin(i + 1), keys.begin(j), keys.begin(j + 1)};
      if (sees_any(extent, item)) schedule_.items.push_back(item);
    }
  }

  [[nodiscard]] bool sees_any(const Extent& extent, const WorkItem& item) const {
    if (item.row_begin >= item.row_end) return false;
    const std::int64_t first = item.row_begin / heads_.group;
    const std::int64_t last = (item.row_end - 1) / heads_.group;
    const std::int64_t end = window_end(band_, last, extent.diagonal, extent.kv_len);
    const std::int64_t begin = window_begin(band_, first, extent.diagonal, extent.kv_len);
    const bool in_window = std::max(begin, item.kv_begin) < std::min(end, item.kv_end);
    return in_window || item.kv_begin < std::min({band_.sink_tokens, end, item.kv_end});
  }

  void close_round() {
    const auto end = static_cast<std::int64_t>(schedule_.items.size());
    const std::int64_t begin = schedule_.round_ends.empty() ? 0 : schedule_.round_ends.back();
    if (end > begin) schedule_.round_ends.push_back(end);
  }

  std::span<const Extent> sequences_;
  Heads heads_;
  Band band_;
  Grain grain_;
  SharedBias shared_;
  double all_work_ = 0;
  GradientSchedule schedule_;
};

}  // namespace

GradientSchedule gradient_schedule(std::span<const Extent> sequences, Heads heads, const Band& band,
                                   const Grain& grain, const SharedBias& shared) {
  return Rounds(sequences, heads, band, grain, shared).run();
}

}  // namespace rapt
