// SPDX-License-Identifier: Apache-2.0 OR MIT
// Threads that stay on their CPUs while something is measured.
#pragma once
#include <functional>
#include <vector>

namespace rapt::bench {

// The CPUs that this process may use.
std::vector<int> allowed_cpus();

// Keeps the calling thread on the CPU it is on, until the end of the scope.
class Pinned {
 public:
  Pinned();
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

 private:
  std::vector<int> before_;
};

// Runs work(thread, round) on so many pinned threads, which begin every round together. Returns the
// seconds that the fastest round took, until its last thread was done.
double fastest_round(int threads, int rounds, const std::function<void(int, int)>& work);

}  // namespace rapt::bench
