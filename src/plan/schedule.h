// SPDX-License-Identifier: Apache-2.0 OR MIT
// How a problem is divided into work items: a pure function of lengths, mask and the kernel's
// grain, never of the number of workers, so that results do not depend on it.
#pragma once
#include <cstdint>
#include <span>

#include "band.h"
#include "work.h"
#include "work_list.h"

namespace rapt {

// What the scheduler must know of one sequence.
struct Extent {
  std::int64_t q_len = 0;     // queries used
  std::int64_t q_rows = 0;    // queries to write: q_len and the padding behind it
  std::int64_t kv_len = 0;    // keys used
  std::int64_t diagonal = 0;  // q_start - kv_start
};

// The heads of a problem as the scheduler sees them.
struct Heads {
  std::int64_t kv_heads = 1;
  std::int64_t group = 1;  // query heads a kv head
};

// Heaviest sequences first and, under a causal mask, last rows first, so that workers who take
// items in order end together; the items of one kv head stay neighbours, so that its keys stay in
// cache.
Schedule make_schedule(std::span<const Extent> sequences, Heads heads, const Band& band,
                       const Grain& grain);

// The largest step that a plan serves; q_tokens and q_len count the rows to write (Extent::q_rows).
struct StepBounds {
  std::int64_t batch = 0;
  std::int64_t q_tokens = 0;  // of the whole batch
  std::int64_t q_len = 0;     // of one sequence
  std::int64_t kv_len = 0;    // of one sequence
};

// No schedule of a step within the bounds is larger; INT64_MAX where a count would not fit.
struct ScheduleBounds {
  std::int64_t items = 0;
  std::int64_t combines = 0;
  std::int64_t partial_rows = 0;
};

ScheduleBounds schedule_bounds(const StepBounds& step, Heads heads, const Grain& grain);

}  // namespace rapt
