// SPDX-License-Identifier: Apache-2.0 OR MIT
// The library's own threads: made when first wanted, spinning briefly and then asleep between
// calls. A call never waits for a thread to wake: who comes late finds the work done.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace rapt::cpu {

class ThreadPool {
 public:
  // More threads than this are never made, whatever a caller asks for.
  static constexpr std::int32_t kMaxSlots = 512;

  // The process's pool; after a fork the child's first call makes the child's own.
  static ThreadPool& shared();

  ThreadPool();
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // CPUs that this process might use when the pool was made.
  [[nodiscard]] std::int32_t cpus() const { return cpus_; }

  // Calls body(context, slot) on the calling thread with slot 0 and on at most slots - 1 workers,
  // each with another slot, and returns when all that began have ended. Bodies share out their work
  // themselves. While another call holds the workers, the caller works alone.
  void run(std::int32_t slots, void (*body)(void* context, std::int32_t slot), void* context);

  // Makes the threads of a later run(slots), which then allocates nothing. Fewer where the system
  // refuses.
  void reserve(std::int32_t slots);

  // Waits for the call in flight and ends the threads; later calls work on their callers' threads
  // alone.
  void stop();

 private:
  bool acquire() { return !busy_.exchange(true, std::memory_order_acquire); }
  void release() { busy_.store(false, std::memory_order_release); }
  void grow(std::int32_t workers);
  void steer();
  void work(bool spins);
  void open(std::int32_t helpers);
  std::int32_t enter();
  void close(std::int32_t helpers);

  const std::int32_t cpus_;
  std::atomic<bool> busy_ = false;    // held by the one call that has the workers
  std::vector<std::thread> workers_;  // changed by the holder alone
  int avoided_ = -1;                  // the CPU that workers are kept off; the holder's too

  // The job, written by the holder while the gate is shut.
  void (*body_)(void*, std::int32_t) = nullptr;
  void* context_ = nullptr;

  std::atomic<std::uint32_t> gate_ = 0;   // slots that workers may still take; 0 = shut
  std::atomic<std::uint32_t> left_ = 0;   // workers that entered the job and left it
  std::atomic<std::uint32_t> calls_ = 0;  // counts jobs; what idle workers watch
  std::atomic<bool> stopping_ = false;
};

}  // namespace rapt::cpu
