// SPDX-License-Identifier: Apache-2.0 OR MIT
// Integer tensors of both widths, and a page table whose unused entries are traps.
#include "kit/indices.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "kit/random.h"

namespace rapt::kit {
namespace {

// Streams of the case's seed.
constexpr std::uint64_t kPages = 8;
constexpr std::uint64_t kTypes = 9;

void make_index(Tensor& t, rapt_dtype dtype, const Sizes& shape, const Sizes& values) {
  t.view = make_view(dtype, shape, natural(shape.size()), 0);
  t.allocate(0);
  for (std::size_t n = 0; n < values.size(); ++n) {
    t.set(static_cast<std::int64_t>(n), static_cast<double>(values[n]));
  }
}

}  // namespace

Indices::Indices(const Case& given) : c(with_defaults(given)), sequences(case_sequences(c)) {
  Random random(c.seed, kTypes);
  make_offsets(random.chance(0.5) ? RAPT_INT32 : RAPT_UINT32);
  make_lengths();
  if (c.kv == "paged") make_table();
  if (c.positions) make_positions(random.chance(0.5) ? RAPT_INT64 : RAPT_INT32);
}

void Indices::make_offsets(rapt_dtype dtype) {
  const Sizes ends = {c.batch + 1};
  if (c.q == "ragged") make_index(q_offsets, dtype, ends, offsets(q_len_of));
  if (c.kv == "ragged") make_index(kv_offsets, dtype, ends, offsets(kv_len_of));
}

void Indices::make_lengths() {
  const Sizes batch = {c.batch};
  const auto make = [&](Tensor& t, auto get) { make_index(t, RAPT_INT32, batch, each(get)); };
  if (c.q == "dense" && !c.q_lens.empty()) make(q_used, q_len_of);
  const bool own_lengths = c.kv == "paged" || !c.kv_lens.empty() || c.left_pad || c.cache_row;
  if (c.kv != "ragged" && own_lengths) {
    make(kv_used, [](const CaseSequence& s) { return s.left_pad + s.kv_len; });
  }
  if (c.left_pad) make(left_pad, [](const CaseSequence& s) { return s.left_pad; });
  if (c.cache_row) make(cache_row, [](const CaseSequence& s) { return s.cache_row; });
}

void Indices::make_positions(rapt_dtype dtype) {
  const Sizes of_q = each([](const CaseSequence& s) { return s.q_start; });
  const Sizes of_kv = each([](const CaseSequence& s) { return s.kv_start; });
  for (const std::int64_t x : of_kv) dtype = x > INT32_MAX ? RAPT_INT64 : dtype;
  make_index(q_start, dtype, {c.batch}, of_q);
  const bool zero = std::all_of(of_kv.begin(), of_kv.end(), [](auto x) { return x == 0; });
  if (!zero) make_index(kv_start, dtype, {c.batch}, of_kv);
}

// Every sequence has pages of its own, in shuffled order among some that nobody uses. Table
// entries behind a sequence's length are nonsense that must not be read.
void Indices::make_table() {
  Random random(c.seed, kPages);
  const auto pages_of = [this](const CaseSequence& s) {
    return (s.kv_len + c.page_size - 1) / c.page_size;
  };
  std::vector<std::int64_t> shuffled(static_cast<std::size_t>(offsets(pages_of).back()) + 3);
  std::iota(shuffled.begin(), shuffled.end(), 0);
  for (std::size_t n = shuffled.size(); n-- > 1;) {
    const auto other = static_cast<std::size_t>(random.integer(0, static_cast<std::int64_t>(n)));
    std::swap(shuffled[n], shuffled[other]);
  }
  const std::int64_t max_pages = (c.kv_len + c.page_size - 1) / c.page_size + 1;
  const std::int64_t nonsense[] = {-1, INT32_MAX, INT32_MIN,
                                   static_cast<std::int64_t>(shuffled.size())};
  Sizes entries;
  std::size_t next = 0;
  for (const CaseSequence& s : sequences) {
    for (std::int64_t n = 0; n < max_pages; ++n) {
      entries.push_back(n < pages_of(s) ? shuffled[next++] : nonsense[random.integer(0, 3)]);
    }
  }
  cache_pages = static_cast<std::int64_t>(shuffled.size());
  make_index(table, RAPT_INT32, {c.batch, max_pages}, entries);
}

}  // namespace rapt::kit
