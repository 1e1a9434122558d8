// SPDX-License-Identifier: Apache-2.0 OR MIT
// Fibers of Boost.Context; a warp runs until every lane waits, then another is drawn.
#include "machine.h"

#include <algorithm>
#include <bit>
#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <random>

#include "guarded_memory.h"

namespace rapt::emulator {
namespace {

namespace context = boost::context;

constexpr std::size_t kStackBytes = 256 << 10;
constexpr int kBarriers = 16;
constexpr int kIdleRounds = 100;         // all threads poll, and nothing comes of it
constexpr unsigned char kPoison = 0xff;  // NaN, and indices that are outside everything

struct Failure {};

struct Thread {
  Place place{};
  context::fiber fiber;      // of the thread, while it does not run
  context::fiber scheduler;  // while it does
  // It waits until the counter is no longer what it was.
  const unsigned* counter = nullptr;
  unsigned seen = 0;
  bool done = false;
  bool pausing = false;
  Groups copies, stores;

  [[nodiscard]] bool runnable() const { return !done && (counter == nullptr || *counter != seen); }
};

struct Meeting {
  unsigned held = 0;  // how often
  u32 arrived = 0;    // lanes
  const char* what = "";
  void* operands[kLanes] = {};
};

struct Warp {
  std::vector<Thread*> lanes;
  std::map<u32, Meeting> meetings;  // by the lanes that take part
  Groups products;

  [[nodiscard]] u32 mask() const { return lanes.size() == kLanes ? ~0u : (1u << lanes.size()) - 1; }
};

struct Barrier {
  unsigned generation = 0;
  int arrived = 0, threads = 0;
};

// In shared memory, as the hardware's is: in eight bytes.
struct Mbarrier {
  u32 expected : 15, phase : 1, pending : 16;
  std::int32_t bytes;
};
static_assert(sizeof(Mbarrier) == 8);

class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes)
      : data_(static_cast<unsigned char*>(allocate_guarded(bytes, 1024))) {}
  ~SharedMemory() { release_guarded(data_); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  [[nodiscard]] unsigned char* data() const { return data_; }

 private:
  unsigned char* data_;
};

u64 seed() {
  const char* text = std::getenv("RAPT_EMULATOR_SEED");
  return text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
}

class Machine {
 public:
  explicit Machine(const Launch& launch)
      : launch_(launch), memory_(launch.shared_bytes), random_(seed()) {
    const Dim3& block = launch.block;
    threads_ = std::vector<Thread>(std::size_t{block.x} * block.y * block.z);
    warps_ = std::vector<Warp>((threads_.size() + kLanes - 1) / kLanes);
    for (std::size_t i = 0; i < threads_.size(); ++i) add_thread(i);
  }

  std::string run() {
    for (unsigned z = 0; z < launch_.grid.z; ++z) {
      for (unsigned y = 0; y < launch_.grid.y; ++y) {
        for (unsigned x = 0; x < launch_.grid.x && error_.empty(); ++x) run_cta({x, y, z});
      }
    }
    return error_;
  }

  // One thread's.
  Thread* running = nullptr;

  [[nodiscard]] unsigned char* memory() const { return memory_.data(); }
  [[nodiscard]] std::size_t memory_bytes() const { return launch_.shared_bytes; }
  [[nodiscard]] int threads() const { return static_cast<int>(threads_.size()); }
  [[nodiscard]] bool coin() { return (random_() & 1) != 0; }
  [[nodiscard]] Barrier& barrier(int id) {
    if (id < 0 || id >= kBarriers) fail("there is no barrier " + std::to_string(id));
    return barriers_[id];
  }
  Warp& warp() { return warps_[static_cast<std::size_t>(running - threads_.data()) / kLanes]; }

  // What tells a wait from a deadlock: something came a step further.
  void progress() { ++steps_; }

  void wait(const unsigned& counter, unsigned seen) {
    progress();
    running->counter = &counter;
    running->seen = seen;
    leave();
    running->counter = nullptr;
  }
  void pause() {
    running->pausing = true;
    leave();
    running->pausing = false;
  }
  void deliver(std::function<void()> work) { deliveries_.push_back(std::move(work)); }
  void set_error(const std::string& why) {
    if (error_.empty()) error_ = launch_.name + ": " + where() + ": " + why;
  }

 private:
  void add_thread(std::size_t i) {
    Thread& thread = threads_[i];
    const auto n = static_cast<unsigned>(i);
    const Dim3& block = launch_.block;
    thread.place = {
        {n % block.x, n / block.x % block.y, n / block.x / block.y}, {}, block, launch_.grid};
    warps_[i / kLanes].lanes.push_back(&thread);
    thread.fiber = context::fiber(std::allocator_arg, context::fixedsize_stack(kStackBytes),
                                  [this, &thread](context::fiber&& scheduler) {
                                    thread.scheduler = std::move(scheduler);
                                    for (;;) live(thread);
                                    return std::move(thread.scheduler);
                                  });
  }

  // A thread of one CTA, then the same fiber serves the next.
  void live(Thread& thread) {
    try {
      launch_.entry(launch_.parameters);
      thread.copies.finish();
      thread.stores.finish();
      warp().products.finish();
    } catch (const Failure&) {
    }
    thread.done = true;
    progress();
    leave();
  }

  void leave() {
    Thread& thread = *running;
    thread.scheduler = std::move(thread.scheduler).resume();
  }

  void resume(Thread& thread) {
    running = &thread;
    thread.fiber = std::move(thread.fiber).resume();
  }

  void run_cta(Dim3 block) {
    std::memset(memory(), kPoison, memory_bytes());
    std::fill(std::begin(barriers_), std::end(barriers_), Barrier{});
    for (Thread& thread : threads_) {
      thread.place.block = block;
      thread.done = false;
    }
    bool alive = true;
    for (int idle = 0; alive && error_.empty(); ++idle) {
      if (run_round() || deliver_one()) idle = 0;
      if (idle == kIdleRounds) set_error("nothing goes on: " + standing());
      alive = std::any_of(threads_.begin(), threads_.end(), [](auto& t) { return !t.done; });
    }
    while (error_.empty() && deliver_one()) {
    }
  }

  // Every warp once, in any order; whether one came further.
  bool run_round() {
    const u64 before = steps_;
    std::vector<std::size_t> order(warps_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::shuffle(order.begin(), order.end(), random_);
    for (const std::size_t i : order) run_warp(warps_[i]);
    if (coin()) deliver_one();
    return steps_ != before;
  }

  // Until every lane waits.
  void run_warp(Warp& warp) {
    for (u64 before = steps_ - 1; before != steps_;) {
      before = steps_;
      for (Thread* lane : warp.lanes) {
        if (!error_.empty()) return;
        if (lane->runnable()) resume(*lane);
      }
    }
  }

  bool deliver_one() {
    if (deliveries_.empty()) return false;
    const std::size_t i = random_() % deliveries_.size();
    const std::function<void()> work = std::move(deliveries_[i]);
    deliveries_.erase(deliveries_.begin() + static_cast<std::ptrdiff_t>(i));
    progress();
    try {
      work();
    } catch (const Failure&) {
    }
    return true;
  }

  [[nodiscard]] std::string where() const {
    if (running == nullptr) return "before it began";
    const Place& at = running->place;
    return "CTA (" + std::to_string(at.block.x) + ", " + std::to_string(at.block.y) + ", " +
           std::to_string(at.block.z) + "), thread " + std::to_string(at.thread.x);
  }

  // Of every warp, what it waits for.
  [[nodiscard]] std::string standing() const {
    std::string text;
    for (const Warp& warp : warps_) {
      const auto count = [&](auto is) {
        return std::to_string(std::count_if(warp.lanes.begin(), warp.lanes.end(), is));
      };
      text += text.empty() ? "" : "; ";
      text += "warp " + std::to_string(&warp - warps_.data()) + ": " +
              count([](Thread* t) { return t->done; }) + " lanes done, " +
              count([](Thread* t) { return t->pausing; }) + " poll; " + "met" + meetings(warp);
    }
    return text;
  }

  // " at ldmatrix: 31"
  static std::string meetings(const Warp& warp) {
    std::string text;
    for (const auto& [mask, meeting] : warp.meetings) {
      if (meeting.arrived == 0) continue;
      text += std::string(" at ") + meeting.what + ": " +
              std::to_string(std::popcount(meeting.arrived));
    }
    return text;
  }

  const Launch& launch_;
  SharedMemory memory_;
  std::mt19937_64 random_;
  std::string error_;
  u64 steps_ = 0;
  std::vector<std::function<void()>> deliveries_;
  Barrier barriers_[kBarriers];
  std::vector<Warp> warps_;
  std::vector<Thread> threads_;  // last: their fibers end first
};

std::mutex one_launch;
Machine* machine = nullptr;

Mbarrier& mbarrier(u32 address) { return *static_cast<Mbarrier*>(shared(address, 8)); }

void end_phase_if_complete(Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.phase ^= 1;
  barrier.pending = barrier.expected;
}

}  // namespace

std::string run(const Launch& launch) {
  const std::scoped_lock lock(one_launch);
  Machine here(launch);
  machine = &here;
  std::string error = here.run();
  machine = nullptr;
  return error;
}

const Place& place() { return machine->running->place; }

void fail(const std::string& why) {
  machine->set_error(why);
  throw Failure();
}

void* shared(u32 address, std::size_t bytes) {
  if (address + bytes > machine->memory_bytes()) {
    fail("shared memory ends at " + std::to_string(machine->memory_bytes()) + ", the address is " +
         std::to_string(address));
  }
  if (address % bytes != 0) {
    fail("shared address " + std::to_string(address) + " is not aligned to " +
         std::to_string(bytes));
  }
  return machine->memory() + address;
}

unsigned char* shared_memory() { return machine->memory(); }

u32 shared_address(const void* pointer) {
  const auto offset = static_cast<const unsigned char*>(pointer) - machine->memory();
  if (offset < 0 || static_cast<std::size_t>(offset) > machine->memory_bytes()) {
    fail("a pointer that is none into dynamic shared memory");
  }
  return static_cast<u32>(offset);
}

void meet(const char* what, void* operands, Work work, u32 mask) {
  Warp& warp = machine->warp();
  const auto lane = machine->running - warp.lanes[0];
  const u32 bit = 1u << lane;
  mask &= warp.mask();
  if ((mask & bit) == 0) fail(std::string(what) + " by a lane that its mask leaves out");
  Meeting& meeting = warp.meetings[mask];
  if (meeting.arrived != 0 && std::strcmp(meeting.what, what) != 0) {
    fail(std::string("lanes of a warp meet at ") + meeting.what + " and at " + what);
  }
  meeting.what = what;
  meeting.operands[lane] = operands;
  meeting.arrived |= bit;
  if (meeting.arrived != mask) return machine->wait(meeting.held, meeting.held);
  meeting.arrived = 0;
  work(meeting.operands);
  ++meeting.held;
}

void pause() { machine->pause(); }

int block_threads() { return machine->threads(); }

void barrier_arrive(int id, int threads) {
  Barrier& barrier = machine->barrier(id);
  if (barrier.arrived > 0 && barrier.threads != threads) {
    fail("barrier " + std::to_string(id) + " is for " + std::to_string(barrier.threads) +
         " threads and for " + std::to_string(threads));
  }
  barrier.threads = threads;
  if (++barrier.arrived < threads) return;
  barrier.arrived = 0;
  ++barrier.generation;
}

void barrier_sync(int id, int threads) {
  const Barrier& barrier = machine->barrier(id);
  const unsigned seen = barrier.generation;
  barrier_arrive(id, threads);
  if (barrier.generation == seen) machine->wait(barrier.generation, seen);
}

void mbarrier_init(u32 address, int arrivals) {
  Mbarrier& barrier = mbarrier(address);
  const auto count = static_cast<u32>(arrivals);
  barrier = {count & 0x7fff, 0, count & 0xffff, 0};
}

void mbarrier_arrive(u32 address, u32 expected_bytes) {
  Mbarrier& barrier = mbarrier(address);
  if (barrier.pending == 0) fail("an mbarrier has more arrivals than it was made for");
  barrier.bytes += static_cast<std::int32_t>(expected_bytes);
  --barrier.pending;
  end_phase_if_complete(barrier);
}

void mbarrier_complete(u32 address, u32 bytes) {
  Mbarrier& barrier = mbarrier(address);
  barrier.bytes -= static_cast<std::int32_t>(bytes);
  end_phase_if_complete(barrier);
}

bool mbarrier_passed(u32 address, u32 parity) {
  if (mbarrier(address).phase != parity) return true;
  machine->pause();
  if (mbarrier(address).phase == parity) return false;
  machine->progress();
  return true;
}

void Groups::add(std::function<void()> work) {
  open_.push_back(std::move(work));
  if (machine->coin()) {
    wait(0);
    for (const auto& each : open_) each();
    open_.clear();
  }
}

void Groups::commit() {
  committed_.push_back(std::move(open_));
  open_.clear();
}

void Groups::wait(std::size_t pending) {
  while (committed_.size() > pending) {
    for (const auto& each : committed_.front()) each();
    committed_.pop_front();
  }
}

void Groups::finish() {
  commit();
  wait(0);
}

Groups& thread_copies() { return machine->running->copies; }
Groups& thread_stores() { return machine->running->stores; }
Groups& warp_products() { return machine->warp().products; }

void deliver(std::function<void()> work) {
  if (machine->coin()) {
    work();
  } else {
    machine->deliver(std::move(work));
  }
}

}  // namespace rapt::emulator
