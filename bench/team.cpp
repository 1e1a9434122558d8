// SPDX-License-Identifier: Apache-2.0 OR MIT
// Pinned threads by sched_setaffinity; rounds by a barrier whose completion takes the time.
#include "bench/team.h"

#include <sched.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <limits>
#include <thread>

namespace rapt::bench {
namespace {

using Clock = std::chrono::steady_clock;

void stay_on(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(static_cast<std::size_t>(cpu), &set);
  // Without the right to pin (a sandbox), the measurement still stands, only less steadily.
  (void)sched_setaffinity(0, sizeof set, &set);
}

// Called by the barrier, while all threads wait: alternately the begin and the end of a round.
class Stopwatch {
 public:
  void operator()() noexcept {
    const Clock::time_point now = Clock::now();
    if (running_) best_ = std::min(best_, std::chrono::duration<double>(now - begin_).count());
    running_ = !running_;
    begin_ = now;
  }
  [[nodiscard]] double best() const { return best_; }

 private:
  Clock::time_point begin_;
  double best_ = std::numeric_limits<double>::infinity();
  bool running_ = false;
};

}  // namespace

std::vector<int> allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &set)) cpus.push_back(cpu);
  }
  return cpus;
}

Pinned::Pinned() : before_(allowed_cpus()) {
  const int here = sched_getcpu();
  if (here >= 0) stay_on({here});
}

Pinned::~Pinned() { stay_on(before_); }

double fastest_round(int threads, int rounds, const std::function<void(int, int)>& work) {
  const std::vector<int> cpus = allowed_cpus();
  Stopwatch stopwatch;
  std::barrier together(threads, [&stopwatch]() noexcept { stopwatch(); });
  const auto one_thread = [&](int thread) {
    stay_on({cpus[static_cast<std::size_t>(thread) % cpus.size()]});
    for (int round = 0; round < rounds; ++round) {
      together.arrive_and_wait();
      work(thread, round);
      together.arrive_and_wait();
    }
  };
  std::vector<std::thread> team;
  for (int thread = 0; thread < threads; ++thread) team.emplace_back(one_thread, thread);
  for (std::thread& thread : team) thread.join();
  return stopwatch.best();
}

}  // namespace rapt::bench
