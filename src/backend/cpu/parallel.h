// SPDX-License-Identifier: Apache-2.0 OR MIT
// Shares loops among the workers that a target allows: the library's pool or the caller's
// parallel_for. Indices are handed out one by one, so that a slow worker holds nobody up.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>

#include "backend/backend.h"

namespace rapt::cpu {

// Workers that a call may use: the call's count, else RAPT_THREADS, else the CPUs of this process.
std::int32_t worker_count(const Target& target);

// body(context, slot), once for each slot of [0, slots) at most; slots run at the same time.
void run_slots(const Target& target, std::int32_t slots, void (*body)(void*, std::int32_t),
               void* context);

// body(index, slot) for every index of [0, count); slot < worker_count(target) names the worker's
// scratch.
template <class Body>
void parallel_for(const Target& target, std::int64_t count, const Body& body) {
  struct Loop {
    const Body& body;
    const std::int64_t count;
    std::atomic<std::int64_t> next = 0;
  } loop{body, count};
  const auto take = [](void* context, std::int32_t slot) {
    Loop& shared = *static_cast<Loop*>(context);
    for (;;) {
      const std::int64_t index = shared.next.fetch_add(1, std::memory_order_relaxed);
      if (index >= shared.count) return;
      shared.body(index, slot);
    }
  };
  const std::int64_t slots = std::min<std::int64_t>(worker_count(target), count);
  run_slots(target, static_cast<std::int32_t>(slots), take, &loop);
}

// body(begin, end) over pieces of [0, count) of at least so many bytes that a thread is worth its
// wake-up.
template <class Body>
void parallel_ranges(const Target& target, std::int64_t count, std::int64_t bytes_each,
                     const Body& body) {
  constexpr std::int64_t kPieceBytes = 128 * 1024;
  const std::int64_t piece =
      std::max<std::int64_t>(1, kPieceBytes / std::max<std::int64_t>(1, bytes_each));
  const std::int64_t pieces = count / piece + (count % piece != 0 ? 1 : 0);
  parallel_for(target, pieces, [&](std::int64_t index, std::int32_t) {
    const std::int64_t begin = index * piece;
    body(begin, begin + std::min(piece, count - begin));
  });
}

}  // namespace rapt::cpu
