// SPDX-License-Identifier: Apache-2.0 OR MIT
// The pool under every use that a host program may make of it: nested, concurrent, after a fork, at
// exit.
#include "backend/cpu/thread_pool.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

#include "allocations.h"
#include "backend/cpu/machine.h"
#include "backend/cpu/parallel.h"

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool kThreadSanitizer = false;
#endif

namespace rapt::cpu {
namespace {

Target threads(std::int32_t count) {
  Target target;
  target.threads = count;
  return target;
}

// Sums 0 .. count - 1 on so many threads; every index must come once.
std::int64_t sum_of(const Target& target, std::int64_t count) {
  std::atomic<std::int64_t> sum = 0;
  parallel_for(target, count, [&](std::int64_t index, std::int32_t) { sum += index; });
  return sum;
}

std::int64_t expected_sum(std::int64_t count) { return count * (count - 1) / 2; }

// Waits for a condition that other threads bring about.
template <class Condition>
bool soon(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(ThreadPool, GivesEveryIndexOnce) {
  for (const std::int32_t count : {1, 2, 3, 7, 40}) {
    std::vector<std::atomic<int>> seen(1000);
    parallel_for(threads(count), 1000, [&](std::int64_t index, std::int32_t slot) {
      EXPECT_GE(slot, 0);
      EXPECT_LT(slot, count);
      ++seen[static_cast<std::size_t>(index)];
    });
    for (const std::atomic<int>& times : seen) ASSERT_EQ(times, 1);
  }
}

TEST(ThreadPool, NoIndicesIsNoWork) { EXPECT_EQ(sum_of(threads(4), 0), 0); }

TEST(ThreadPool, NoTwoThreadsShareASlot) {
  std::vector<std::atomic<int>> inside(5);
  for (int round = 0; round < 200; ++round) {
    parallel_for(threads(5), 50, [&](std::int64_t, std::int32_t slot) {
      std::atomic<int>& here = inside[static_cast<std::size_t>(slot)];
      EXPECT_EQ(here.fetch_add(1), 0);
      here.fetch_sub(1);
    });
  }
}

TEST(ThreadPool, UsesAsManyThreadsAsAsked) {
  std::atomic<int> inside = 0;
  parallel_for(threads(3), 3, [&](std::int64_t, std::int32_t) {
    ++inside;
    EXPECT_TRUE(soon([&] { return inside == 3; }));
  });
}

TEST(ThreadPool, SleepersWakeForTheNextCall) {
  std::atomic<int> inside = 0;
  for (int round = 1; round <= 3; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    parallel_for(threads(2), 2, [&](std::int64_t, std::int32_t) {
      ++inside;
      EXPECT_TRUE(soon([&] { return inside >= 2 * round; }));
    });
  }
}

TEST(ThreadPool, NestedCallsFinish) {
  std::atomic<std::int64_t> sum = 0;
  parallel_for(threads(3), 10, [&](std::int64_t, std::int32_t) { sum += sum_of(threads(3), 50); });
  EXPECT_EQ(sum, 10 * expected_sum(50));
}

TEST(ThreadPool, ConcurrentCallsFinish) {
  std::vector<std::thread> callers;
  std::atomic<std::int64_t> sum = 0;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 100; ++round) sum += sum_of(threads(4), 64);
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(sum, 600 * expected_sum(64));
}

TEST(ThreadPool, AllocatesNothingOnceItsThreadsAreThere) {
  ThreadPool::shared().reserve(6);
  sum_of(threads(6), 100);
  const std::int64_t before = allocations();
  for (int round = 0; round < 20; ++round) sum_of(threads(6), 100);
  EXPECT_EQ(allocations(), before);
}

TEST(ThreadPool, StopsAndThenLetsCallersWorkAlone) {
  ThreadPool pool;
  std::atomic<int> calls = 0;
  const auto count = [](void* context, std::int32_t) {
    ++*static_cast<std::atomic<int>*>(context);
  };
  pool.run(4, count, &calls);
  EXPECT_GE(calls, 1);
  EXPECT_LE(calls, 4);
  pool.stop();
  calls = 0;
  pool.run(4, count, &calls);
  EXPECT_EQ(calls, 1);
}

TEST(ThreadPool, AskingForMoreThreadsThanItEverMakesIsFine) {
  EXPECT_EQ(worker_count(threads(INT32_MAX)), ThreadPool::kMaxSlots);
}

// The caller's own threads, recorded.
struct CallersThreads {
  std::int64_t calls = 0;
  std::int64_t count = 0;

  static void run(void* context, std::int64_t count, void (*body)(void*, std::int64_t),
                  void* body_context) {
    auto& self = *static_cast<CallersThreads*>(context);
    ++self.calls;
    self.count = count;
    std::vector<std::thread> threads;
    for (std::int64_t i = 0; i < count; ++i) threads.emplace_back(body, body_context, i);
    for (std::thread& thread : threads) thread.join();
  }
};

TEST(ThreadPool, ACallersParallelForIsUsedInstead) {
  CallersThreads callers;
  Target target = threads(3);
  target.parallel_for = CallersThreads::run;
  target.parallel_context = &callers;
  EXPECT_EQ(sum_of(target, 100), expected_sum(100));
  EXPECT_EQ(callers.calls, 1);
  EXPECT_EQ(callers.count, 3);
}

TEST(ThreadPool, ACallersLoopThatRunsOutOfOrderOrTooFarIsSafe) {
  Target target = threads(3);
  target.parallel_for = [](void*, std::int64_t count, void (*body)(void*, std::int64_t),
                           void* context) {
    for (std::int64_t i = count + 1; i >= -1; --i) body(context, i);
  };
  std::set<std::int32_t> slots;
  std::int64_t sum = 0;
  parallel_for(target, 100, [&](std::int64_t index, std::int32_t slot) {
    slots.insert(slot);
    sum += index;
  });
  EXPECT_EQ(sum, expected_sum(100));
  EXPECT_EQ(slots, std::set<std::int32_t>{2});
}

// Runs `body` in a forked child; true when it returned true there within the time of the alarm.
template <class Body>
bool in_child(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    _exit(body() ? 0 : 1);
  }
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(ThreadPool, AForksChildMakesItsOwn) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer allows no threads in a fork's child";
  sum_of(threads(3), 100);
  const ThreadPool* parents = &ThreadPool::shared();
  EXPECT_TRUE(in_child([&] {
    std::atomic<int> inside = 0;
    parallel_for(threads(3), 3, [&](std::int64_t, std::int32_t) {
      ++inside;
      soon([&] { return inside == 3; });
    });
    return inside == 3 && &ThreadPool::shared() != parents;
  }));
  EXPECT_EQ(sum_of(threads(3), 100), expected_sum(100));
}

TEST(ThreadPool, AChildOfAForkInMidCallWorksToo) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer allows no threads in a fork's child";
  std::atomic<bool> done = false;
  std::thread caller([&] {
    while (!done) sum_of(threads(3), 1000);
  });
  for (int round = 0; round < 5; ++round) {
    EXPECT_TRUE(in_child([] { return sum_of(threads(3), 100) == expected_sum(100); }));
  }
  done = true;
  caller.join();
}

TEST(ThreadPoolDeathTest, TheProcessExitsCleanly) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  const auto exit_after_a_call = [] {
    alarm(20);
    sum_of(threads(3), 100);
    std::exit(0);
  };
  EXPECT_EXIT(exit_after_a_call(), testing::ExitedWithCode(0), "");
}

TEST(Machine, CountsTheCpusOfTheAffinityMask) {
  EXPECT_TRUE(in_child([] {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &mask);
    if (sched_setaffinity(0, sizeof mask, &mask) != 0) return false;
    return usable_cpus() == 1;
  }));
}

TEST(Machine, AThreadsOwnMaskDoesNotShrinkThePool) {
  const std::int32_t before = usable_cpus();
  std::thread([&] {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    CPU_SET(static_cast<unsigned>(sched_getcpu()), &mask);
    ASSERT_EQ(sched_setaffinity(0, sizeof mask, &mask), 0);
    EXPECT_EQ(usable_cpus(), before);
    keep_off(pthread_self(), -1);
    ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    EXPECT_GE(CPU_COUNT(&mask), before);
  }).join();
}

TEST(Machine, KeepsAThreadOffOneCpuUnlessItIsTheOnlyOne) {
  cpu_set_t process;
  ASSERT_EQ(sched_getaffinity(getpid(), sizeof process, &process), 0);
  const int all = CPU_COUNT(&process);
  std::thread([&] {
    const int cpu = sched_getcpu();
    cpu_set_t mask;
    keep_off(pthread_self(), cpu);
    ASSERT_EQ(sched_getaffinity(0, sizeof mask, &mask), 0);
    EXPECT_EQ(CPU_ISSET(static_cast<unsigned>(cpu), &mask) != 0, all == 1);
    EXPECT_EQ(CPU_COUNT(&mask), all == 1 ? 1 : all - 1);
  }).join();
}

TEST(Machine, ReadsCgroupQuotas) {
  EXPECT_EQ(quota_cpus("max 100000"), 0);
  EXPECT_EQ(quota_cpus("200000 100000"), 2);
  EXPECT_EQ(quota_cpus("150000 100000"), 2);
  EXPECT_EQ(quota_cpus("1000 100000"), 1);
  EXPECT_EQ(quota_cpus("9223372036854775807 1"), INT32_MAX);
  for (const char* text : {"", "max", "100000", "-1 100000", "100000 0", "words here"}) {
    EXPECT_EQ(quota_cpus(text), 0) << text;
  }
}

TEST(Machine, HasANameAndMemory) {
  EXPECT_FALSE(cpu_model().empty());
  EXPECT_GT(memory_bytes(), 0);
}

}  // namespace
}  // namespace rapt::cpu
