// SPDX-License-Identifier: Apache-2.0 OR MIT
// How one page of a PageJob lies in memory: strided dimensions, and behind them runs that are as
// long as both sides are contiguous.
#pragma once
#include <cstddef>
#include <cstdint>

#include "jobs.h"

namespace rapt {

// Dimensions [0, outer) are walked one by one, each time a run of contiguous bytes.
struct PageWalk {
  std::int32_t outer = 0;
  std::int64_t element_bytes = 1;
  std::int64_t run_bytes = 1;
};

inline PageWalk walk_of(const PageJob& job) {
  PageWalk walk{job.rank, static_cast<std::int64_t>(rapt_dtype_bytes(rapt_dtype(job.dtype))), 0};
  std::int64_t run = 1;
  for (; walk.outer > 0; --walk.outer) {
    const std::int32_t d = walk.outer - 1;
    const bool to_fits = job.to_strides[d] == run;
    const bool from_fits = job.from == nullptr || job.from_strides[d] == run;
    if (job.shape[d] != 1 && !(to_fits && from_fits)) break;
    run *= job.shape[d];
  }
  walk.run_bytes = run * walk.element_bytes;
  return walk;
}

inline std::int64_t page_bytes(const PageJob& job, const PageWalk& walk) {
  std::int64_t bytes = walk.run_bytes;
  for (std::int32_t d = 0; d < walk.outer; ++d) bytes *= job.shape[d];
  return bytes;
}

// Where a page is read and written; `from` is null where pages are cleared.
struct PageMove {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
};

inline PageMove move_of(const PageJob& job, const PageWalk& walk, std::int64_t source,
                        std::int64_t target) {
  PageMove move;
  move.to = static_cast<std::byte*>(job.to) + target * job.to_page_stride * walk.element_bytes;
  if (job.from == nullptr) return move;
  move.from =
      static_cast<const std::byte*>(job.from) + source * job.from_page_stride * walk.element_bytes;
  return move;
}

// Calls run(move) with the place of every run of a page.
template <class Run>
void for_each_run(const PageJob& job, const PageWalk& walk, const PageMove& page, const Run& run,
                  std::int32_t dimension = 0) {
  if (dimension == walk.outer) {
    run(page);
    return;
  }
  const std::int64_t from_step =
      page.from == nullptr ? 0 : job.from_strides[dimension] * walk.element_bytes;
  const std::int64_t to_step = job.to_strides[dimension] * walk.element_bytes;
  for (std::int64_t i = 0; i < job.shape[dimension]; ++i) {
    const std::byte* from = page.from == nullptr ? nullptr : page.from + i * from_step;
    for_each_run(job, walk, {from, page.to + i * to_step}, run, dimension + 1);
  }
}

}  // namespace rapt
