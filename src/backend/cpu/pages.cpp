// SPDX-License-Identifier: Apache-2.0 OR MIT
// Whole pages copied, swapped between caches, or cleared, in runs as long as both sides are
// contiguous.
#include <cstddef>
#include <cstring>

#include "backend/cpu/cache.h"
#include "backend/cpu/parallel.h"

namespace rapt::cpu {
namespace {

std::int64_t bytes_of(DType dtype) {
  switch (dtype) {
    case DType::fp32:
    case DType::int32:
    case DType::uint32:
      return 4;
    case DType::fp16:
    case DType::bf16:
      return 2;
    case DType::int64:
      return 8;
    default:
      return 1;
  }
}

// How one page is walked: dimensions [0, outer) one by one, each time a run of contiguous bytes.
struct Walk {
  std::int32_t outer = 0;
  std::int64_t element_bytes = 1;
  std::int64_t run_bytes = 1;
};

Walk walk_of(const PageJob& job) {
  Walk walk{job.rank, bytes_of(job.dtype), 0};
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

void move_block(const PageJob& job, const Walk& walk, std::int32_t dimension, const std::byte* from,
                std::byte* to) {
  if (dimension == walk.outer) {
    const auto bytes = static_cast<std::size_t>(walk.run_bytes);
    if (from == nullptr) {
      std::memset(to, 0, bytes);
    } else {
      std::memcpy(to, from, bytes);
    }
    return;
  }
  const std::int64_t from_step =
      from == nullptr ? 0 : job.from_strides[dimension] * walk.element_bytes;
  const std::int64_t to_step = job.to_strides[dimension] * walk.element_bytes;
  for (std::int64_t i = 0; i < job.shape[dimension]; ++i) {
    move_block(job, walk, dimension + 1, from == nullptr ? nullptr : from + i * from_step,
               to + i * to_step);
  }
}

void move_page(const PageJob& job, const Walk& walk, std::int64_t move) {
  const std::int64_t target = job.targets[move * job.index_stride];
  std::byte* to =
      static_cast<std::byte*>(job.to) + target * job.to_page_stride * walk.element_bytes;
  const std::byte* from = nullptr;
  if (job.from != nullptr) {
    const std::int64_t source = job.sources[move * job.index_stride];
    from = static_cast<const std::byte*>(job.from) +
           source * job.from_page_stride * walk.element_bytes;
  }
  move_block(job, walk, 0, from, to);
}

}  // namespace

Status move_pages(const PageJob& job, const Target& target) {
  const Walk walk = walk_of(job);
  std::int64_t page_bytes = walk.run_bytes;
  for (std::int32_t d = 0; d < walk.outer; ++d) page_bytes *= job.shape[d];
  if (page_bytes == 0) return {};
  parallel_ranges(target, job.count, page_bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t move = begin; move < end; ++move) move_page(job, walk, move);
  });
  return {};
}

}  // namespace rapt::cpu
