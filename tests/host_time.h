// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a call costs the host.
#pragma once
#include <algorithm>
#include <chrono>

namespace rapt::test {

// Microseconds of one call: the least of several rounds, which is what the machine allows, not what
// its other users do. `between` runs after each round, outside of what is timed.
template <typename Call, typename Between>
double host_microseconds(Call call, Between between) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRounds = 20, kTurns = 200;
  double least = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = Clock::now();
    for (int turn = 0; turn < kTurns; ++turn) call();
    const std::chrono::duration<double, std::micro> took = Clock::now() - start;
    least = std::min(least, took.count() / kTurns);
    between();
  }
  return least;
}

}  // namespace rapt::test
