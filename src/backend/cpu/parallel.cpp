// SPDX-License-Identifier: Apache-2.0 OR MIT
// Slots run on the pool, on the caller's own threads, or, when there is but one, right here.
#include "backend/cpu/parallel.h"

#include "backend/cpu/dispatch.h"
#include "backend/cpu/thread_pool.h"

namespace rapt::cpu {
namespace {

struct Slots {
  void (*body)(void*, std::int32_t);
  void* context;
  std::int32_t count;
};

// The index of a caller's loop is the slot; one outside the loop's range has no scratch and no
// work.
void run_slot(void* context, std::int64_t index) {
  const Slots& slots = *static_cast<const Slots*>(context);
  if (index < 0 || index >= slots.count) return;
  slots.body(slots.context, static_cast<std::int32_t>(index));
}

}  // namespace

std::int32_t worker_count(const Target& target) {
  if (target.threads > 0) return std::min(target.threads, ThreadPool::kMaxSlots);
  const std::int32_t threads = environment().threads;
  return threads > 0 ? threads : ThreadPool::shared().cpus();
}

void run_slots(const Target& target, std::int32_t slots, void (*body)(void*, std::int32_t),
               void* context) {
  if (slots <= 0) return;
  if (slots == 1) return body(context, 0);
  if (target.parallel_for == nullptr) return ThreadPool::shared().run(slots, body, context);
  Slots shared{body, context, slots};
  target.parallel_for(target.parallel_context, slots, run_slot, &shared);
}

}  // namespace rapt::cpu
