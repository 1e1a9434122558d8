// SPDX-License-Identifier: Apache-2.0 OR MIT
// An atexit() handler would come too late: exit() runs handlers backwards, and NVRTC registers some
// in the middle of a compilation. The main thread's thread_local objects go before all of them.
#include "backend/exit_gate.h"

#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace rapt {
namespace {

constexpr std::chrono::seconds kPatience{10};  // a compilation takes one at most

// Two atomics and no lock, so that a child forked at any moment finds nothing locked.
std::atomic<int> inside = 0;
std::atomic<bool> closed = false;

void close_gate() {
  closed = true;
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (inside > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

struct Closer {
  pid_t process = getpid();
  ~Closer() {
    // Not at the end of other threads, nor in a forked child that never armed it.
    if (gettid() == getpid() && getpid() == process) close_gate();
  }
};
thread_local Closer closer;

[[maybe_unused]] const bool armed = (ExitGate::arm(), true);

}  // namespace

ExitGate::Pass::Pass() {
  ++inside;
  given_ = !closed;
  if (!given_) --inside;
}

ExitGate::Pass::~Pass() {
  if (given_) --inside;
}

void ExitGate::arm() {
  if (closer.process == getpid()) return;
  // A forked child: the threads that were inside do not exist here.
  inside = 0;
  closer.process = getpid();
}

}  // namespace rapt
