// SPDX-License-Identifier: Apache-2.0 OR MIT
// Whole pages copied, swapped between caches, or cleared, in runs as long as both sides are
// contiguous.
#include <cstddef>
#include <cstring>

#include "backend/cpu/cache.h"
#include "backend/cpu/parallel.h"
#include "page_walk.h"

namespace rapt::cpu {
namespace {

void move_page(const PageJob& job, const PageWalk& walk, std::int64_t move) {
  const std::int64_t at = move * job.index_stride;
  const std::int64_t source = job.from == nullptr ? 0 : job.sources[at];
  const auto bytes = static_cast<std::size_t>(walk.run_bytes);
  for_each_run(job, walk, move_of(job, walk, source, job.targets[at]), [&](const PageMove& run) {
    if (run.from == nullptr) {
      std::memset(run.to, 0, bytes);
    } else {
      std::memcpy(run.to, run.from, bytes);
    }
  });
}

}  // namespace

Status move_pages(const PageJob& job, const Target& target) {
  const PageWalk walk = walk_of(job);
  const std::int64_t bytes = page_bytes(job, walk);
  if (bytes == 0) return {};
  parallel_ranges(target, job.count, bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t move = begin; move < end; ++move) move_page(job, walk, move);
  });
  return {};
}

}  // namespace rapt::cpu
