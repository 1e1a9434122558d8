// SPDX-License-Identifier: Apache-2.0 OR MIT
// The integers of a case: offsets, lengths, page table, places and positions, as tensors. They have
// data even where a workload has none, since describing a problem needs them.
#pragma once
#include <cstdint>
#include <vector>

#include "kit/case.h"
#include "kit/tensor.h"

namespace rapt::kit {

// A tensor without dtype is one that the case does not need.
struct Indices {
  explicit Indices(const Case& given);

  Case c;  // with its defaults
  std::vector<CaseSequence> sequences;
  Tensor q_offsets, kv_offsets;                                    // ragged [batch + 1]
  Tensor table;                                                    // [batch, max_pages]
  Tensor q_used, kv_used, cache_row, left_pad, q_start, kv_start;  // [batch]
  std::int64_t cache_pages = 0;

  // One number for each sequence.
  template <class Get>
  [[nodiscard]] Sizes each(Get get) const {
    Sizes values;
    for (const CaseSequence& s : sequences) values.push_back(get(s));
    return values;
  }

  // 0 and the running sums of each().
  template <class Get>
  [[nodiscard]] Sizes offsets(Get get) const {
    Sizes sums{0};
    for (const CaseSequence& s : sequences) sums.push_back(sums.back() + get(s));
    return sums;
  }

  static std::int64_t q_len_of(const CaseSequence& s) { return s.q_len; }
  static std::int64_t kv_len_of(const CaseSequence& s) { return s.kv_len; }

 private:
  void make_offsets(rapt_dtype dtype);
  void make_lengths();
  void make_positions(rapt_dtype dtype);
  void make_table();
};

}  // namespace rapt::kit
