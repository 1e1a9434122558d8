// SPDX-License-Identifier: Apache-2.0 OR MIT
// A GPU for machines without one: CTAs run one after another, each CUDA thread a fiber. What a
// kernel may not count on is drawn at random: which warp goes on, and when asynchronous work is
// done, from at once to when it is waited for. Included by the driver and by translated kernels.
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace rapt::emulator {

using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr int kLanes = 32;

struct Dim3 {
  unsigned x, y, z;
};

struct Place {
  Dim3 thread, block, block_size, grid;
};

// What a compiled kernel's library exports, as "rapt_emulated_" and its name: one thread's run.
using Entry = void (*)(void** parameters);

struct Launch {
  std::string name;
  Entry entry;
  Dim3 grid, block;
  std::size_t shared_bytes;
  void** parameters;
};

// Runs every CTA; "" or what went wrong, by kernel, CTA and warp. One launch at a time.
std::string run(const Launch& launch);

// The rest is for the thread that runs.

const Place& place();

// Ends the launch with a sentence.
[[noreturn]] void fail(const std::string& why);

// Shared memory by its address, which begins at 0; fails outside it or where it is not aligned to
// `bytes` (16 at most).
void* shared(u32 address, std::size_t bytes);
unsigned char* shared_memory();
u32 shared_address(const void* pointer);

// Lanes of a warp meet, each with operands of its own; the last to arrive works on them all, by
// lane (null of those that the mask leaves out). Fails where some meet at something else.
using Work = void (*)(void* const* operands);
void meet(const char* what, void* operands, Work work, u32 mask = ~0u);

// Lets others run: for loops that wait.
void pause();

void barrier_sync(int id, int threads);
void barrier_arrive(int id, int threads);
int block_threads();

void mbarrier_init(u32 address, int arrivals);
void mbarrier_arrive(u32 address, u32 expected_bytes);
void mbarrier_complete(u32 address, u32 bytes);
bool mbarrier_passed(u32 address, u32 parity);

// Asynchronous work in groups, which ends in the order in which it began.
class Groups {
 public:
  void add(std::function<void()> work);
  void commit();
  void wait(std::size_t pending);
  void finish();

 private:
  std::vector<std::function<void()>> open_;
  std::deque<std::vector<std::function<void()>>> committed_;
};

Groups& thread_copies();
Groups& thread_stores();
Groups& warp_products();

// Work that ends whenever it likes.
void deliver(std::function<void()> work);

}  // namespace rapt::emulator
