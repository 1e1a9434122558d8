// SPDX-License-Identifier: Apache-2.0 OR MIT
// A job is published by opening a gate and counting calls_ up. Workers pass the gate while it is
// open and slots remain; the caller, its own share done, shuts the gate and waits for those who had
// passed.
#include "backend/cpu/thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>

#include "backend/cpu/machine.h"

namespace rapt::cpu {
namespace {

// Long enough to catch the next layer's call, short enough to cost an idle process nothing.
constexpr std::chrono::microseconds kSpin{50};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The process's signals are for its own threads.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

// Returns when `value` is no longer `old`: at once, after a short spin, or woken from sleep.
void await_change(const std::atomic<std::uint32_t>& value, std::uint32_t old, bool spins) {
  const auto now = std::chrono::steady_clock::now;
  if (spins) {
    for (const auto end = now() + kSpin; now() < end;) {
      for (int i = 0; i < 32; ++i) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
      }
    }
  }
  value.wait(old, std::memory_order_acquire);
}

// The process's pool, found without a lock so that a fork can leave none behind locked. A child
// forgets the pool of its parent, whose threads it does not have; `abandoned` keeps that memory
// reachable.
constinit std::atomic<ThreadPool*> shared_pool = nullptr;
constinit ThreadPool* abandoned = nullptr;

void forget_in_child() {
  if (ThreadPool* parents = shared_pool.exchange(nullptr)) abandoned = parents;
}

// The threads end with the process; the pool stays for whoever still calls.
void stop_at_exit() {
  if (ThreadPool* pool = shared_pool.load()) pool->stop();
}

[[maybe_unused]] const bool registered =
    pthread_atfork(nullptr, nullptr, forget_in_child) == 0 && std::atexit(stop_at_exit) == 0;

}  // namespace

ThreadPool& ThreadPool::shared() {
  if (ThreadPool* pool = shared_pool.load(std::memory_order_acquire)) return *pool;
  auto made = std::make_unique<ThreadPool>();
  ThreadPool* first = nullptr;
  if (shared_pool.compare_exchange_strong(first, made.get())) return *made.release();
  return *first;
}

ThreadPool::ThreadPool() : cpus_(std::min(usable_cpus(), kMaxSlots)) {
  workers_.reserve(kMaxSlots);
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::run(std::int32_t slots, void (*body)(void*, std::int32_t), void* context) {
  if (slots <= 1 || !acquire()) return body(context, 0);
  grow(slots - 1);
  steer();
  body_ = body;
  context_ = context;
  open(slots - 1);
  body(context, 0);
  close(slots - 1);
  release();
}

void ThreadPool::reserve(std::int32_t slots) {
  if (slots <= 1 || !acquire()) return;
  grow(slots - 1);
  release();
}

void ThreadPool::grow(std::int32_t workers) {
  if (stopping_.load(std::memory_order_relaxed)) return;
  const auto wanted = static_cast<std::size_t>(std::min(workers, kMaxSlots - 1));
  try {
    while (workers_.size() < wanted) {
      // More threads than CPUs must not spin: they would keep the others from working.
      const bool spins = static_cast<std::int32_t>(workers_.size()) + 1 < cpus_;
      workers_.emplace_back(&ThreadPool::work, this, spins);
      avoided_ = -1;
    }
  } catch (const std::system_error&) {  // no more threads: go on with those there are
  } catch (const std::bad_alloc&) {
  }
}

// Kernels that pack tasks onto few CPUs (virtual machines do, to save power) wake a worker on the
// very CPU that its caller keeps busy: it then ran 1.9 ms later on our 2-CPU guest, 0.02 to 0.1 ms
// later when kept off. A call pays for this only when its thread has moved since the last one.
void ThreadPool::steer() {
  const int cpu = sched_getcpu();
  if (cpu == avoided_) return;
  for (std::thread& worker : workers_) keep_off(worker.native_handle(), cpu);
  avoided_ = cpu;
}

void ThreadPool::open(std::int32_t helpers) {
  left_.store(0, std::memory_order_relaxed);
  gate_.store(static_cast<std::uint32_t>(helpers), std::memory_order_release);
  calls_.fetch_add(1, std::memory_order_release);
  if (static_cast<std::size_t>(helpers) >= workers_.size()) return calls_.notify_all();
  for (std::int32_t i = 0; i < helpers; ++i) calls_.notify_one();
}

void ThreadPool::work(bool spins) {
  block_signals();
  std::uint32_t seen = 0;
  while (!stopping_.load(std::memory_order_acquire)) {
    if (const std::int32_t slot = enter(); slot > 0) {
      body_(context_, slot);
      left_.fetch_add(1, std::memory_order_release);
      left_.notify_one();
    }
    await_change(calls_, seen, spins);
    seen = calls_.load(std::memory_order_acquire);
  }
}

// The slot that this worker has in the open job; 0 where there is none.
std::int32_t ThreadPool::enter() {
  std::uint32_t slot = gate_.load(std::memory_order_relaxed);
  while (slot > 0 && !gate_.compare_exchange_weak(slot, slot - 1, std::memory_order_acquire)) {
  }
  return static_cast<std::int32_t>(slot);
}

void ThreadPool::close(std::int32_t helpers) {
  const std::uint32_t unused = gate_.exchange(0, std::memory_order_relaxed);
  const std::uint32_t entered = static_cast<std::uint32_t>(helpers) - unused;
  const bool spins = helpers < cpus_;
  for (;;) {
    const std::uint32_t left = left_.load(std::memory_order_acquire);
    if (left == entered) return;
    await_change(left_, left, spins);
  }
}

void ThreadPool::stop() {
  if (stopping_.exchange(true)) return;
  while (!acquire()) std::this_thread::yield();  // and keep it: see run
  calls_.fetch_add(1, std::memory_order_release);
  calls_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

}  // namespace rapt::cpu
