// SPDX-License-Identifier: Apache-2.0 OR MIT
// getenv and pthread_mutex_lock in front of libc's, which they call.
#include "watch.h"

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>

namespace {

std::atomic<std::int64_t> reads = 0;
std::atomic<std::int64_t> lock_count = 0;

template <typename Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

std::int64_t rapt::test::environment_reads() { return reads; }
std::int64_t rapt::test::locks() { return lock_count; }

extern "C" char* getenv(const char* name) noexcept {
  static auto* const libc = next<char*(const char*)>("getenv");
  ++reads;
  return libc(name);
}

extern "C" int pthread_mutex_lock(pthread_mutex_t* mutex) noexcept {
  static auto* const libc = next<int(pthread_mutex_t*)>("pthread_mutex_lock");
  ++lock_count;
  return libc(mutex);
}
