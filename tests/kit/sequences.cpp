// SPDX-License-Identifier: Apache-2.0 OR MIT
// The sequences of a case: lengths, places and positions; and what a call over them must compute
// and move.
#include <algorithm>

#include "kit/case.h"
#include "kit/numbers.h"
#include "kit/random.h"

namespace rapt::kit {
namespace {

// Streams of the case's seed.
constexpr std::uint64_t kPositions = 101;
constexpr std::uint64_t kPlaces = 102;

// Positions away from the default: the whole sequence moved (far beyond 32 bits at times), the
// queries moved against the keys (some then see nothing, or everything), or both.
void place_positions(const Case& c, std::vector<CaseSequence>& sequences) {
  Random random(c.seed, kPositions);
  const std::int64_t bases[] = {0, -37, 1000, 5'000'000'000};
  const std::int64_t base = bases[random.integer(0, 3)];
  const bool shifted = base == 0 || random.chance(0.7);
  for (CaseSequence& s : sequences) {
    const std::int64_t shift = random.integer(-s.kv_len - 3, s.kv_len / 2 + 3);
    s.kv_start = base;
    s.q_start += base + (shifted ? shift : 0);
  }
}

void place_rows(const Case& c, std::vector<CaseSequence>& sequences) {
  Random random(c.seed, kPlaces);
  for (std::size_t b = 0; b < sequences.size(); ++b) {
    sequences[b].cache_row = static_cast<std::int64_t>(b);
    if (c.left_pad) sequences[b].left_pad = random.integer(0, random.chance(0.3) ? 150 : 7);
  }
  if (!c.cache_row) return;
  // Rows 1 .. batch + 1 in shuffled order; the cache has rows on either side that nobody uses.
  for (std::size_t b = 0; b < sequences.size(); ++b) {
    const auto other = static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(b)));
    sequences[b].cache_row = sequences[other].cache_row;
    sequences[other].cache_row = static_cast<std::int64_t>(b) + 1;
  }
}

std::int64_t left_of(const Case& c) { return c.mask == "band" ? c.left : RAPT_UNBOUNDED; }

std::int64_t right_of(const Case& c) {
  return c.mask == "causal" ? 0 : (c.mask == "band" ? c.right : RAPT_UNBOUNDED);
}

}  // namespace

std::vector<CaseSequence> case_sequences(const Case& given) {
  const Case c = with_defaults(given);
  std::vector<CaseSequence> sequences(static_cast<std::size_t>(c.batch));
  for (std::size_t b = 0; b < sequences.size(); ++b) {
    CaseSequence& s = sequences[b];
    s.q_len = c.q_lens.empty() ? c.q_len : c.q_lens[b];
    s.kv_len = c.kv_lens.empty() ? c.kv_len : c.kv_lens[b];
    s.q_start = s.kv_len - s.q_len;
  }
  if (c.positions) place_positions(c, sequences);
  place_rows(c, sequences);
  return sequences;
}

bool case_sees(const Case& c, const CaseSequence& s, std::int64_t i, std::int64_t j) {
  const std::int64_t ahead = (s.kv_start + j) - (s.q_start + i);  // of the query, positions
  if (ahead > right_of(c)) return false;
  return -ahead <= left_of(c) || j < c.sink_tokens;
}

// Without looking at each key.
std::int64_t case_visible_keys(const Case& c, const CaseSequence& s, std::int64_t i) {
  constexpr std::int64_t kFar = std::int64_t{1}
                                << 60;  // as good as unbounded, and sums do not overflow
  const std::int64_t level = s.q_start + i - s.kv_start;
  const std::int64_t begin = std::max<std::int64_t>(0, level - std::min(left_of(c), kFar));
  const std::int64_t end =
      std::clamp<std::int64_t>(level + std::min(right_of(c), kFar) + 1, 0, s.kv_len);
  const std::int64_t sinks = std::min({c.sink_tokens, begin, end});
  return std::max<std::int64_t>(0, end - begin) + sinks;
}

bool case_needs(const Case& c, const CaseSequence& s, std::int64_t j) {
  if (s.q_len == 0) return false;
  // The query whose position is nearest to the key's sees it if any does.
  const std::int64_t level = s.kv_start + j - s.q_start;
  return case_sees(c, s, std::clamp<std::int64_t>(level, 0, s.q_len - 1), j);
}

double case_scores(const Case& given) {
  const Case c = with_defaults(given);
  double count = 0;
  for (const CaseSequence& s : case_sequences(c)) {
    for (std::int64_t i = 0; i < s.q_len; ++i)
      count += static_cast<double>(case_visible_keys(c, s, i));
  }
  return count * static_cast<double>(c.q_heads);
}

double case_flops_a_score(const Case& given) {
  const Case c = with_defaults(given);
  const bool backward = c.direction == "backward";
  return 2 * static_cast<double>(backward ? 3 * c.head_dim + 2 * c.value_dim
                                          : c.head_dim + c.value_dim);
}

double case_flops(const Case& c) { return case_flops_a_score(c) * case_scores(c); }

double case_bytes(const Case& given) {
  const Case c = with_defaults(given);
  // Backward reads what the forward moved and d_out, and writes as much as q, k and v.
  const bool backward = c.direction == "backward";
  const std::int64_t q_row = (backward ? 2 : 1) * (c.head_dim * dtype_bytes(c.dtype) +
                                                   c.value_dim * dtype_bytes(c.out_dtype)) +
                             (c.lse ? 4 : 0);
  const std::int64_t kv_row =
      (backward ? 2 : 1) * (c.head_dim + c.value_dim) * dtype_bytes(c.dtype);
  std::int64_t bytes = 0;
  for (const CaseSequence& s : case_sequences(c)) {
    bytes += s.q_len * c.q_heads * q_row;
    for (std::int64_t j = 0; j < s.kv_len; ++j) {
      bytes += case_needs(c, s, j) ? c.kv_heads * kv_row : 0;
    }
  }
  return static_cast<double>(bytes);
}

}  // namespace rapt::kit
