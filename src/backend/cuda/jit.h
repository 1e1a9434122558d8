// SPDX-License-Identifier: Apache-2.0 OR MIT
// Configuration -> text -> cubin -> kernel. Warm: one lookup without lock. Cold: the disk, else
// NVRTC, once a key over all threads and processes. Ahead of time: prepare(), on threads of its
// own.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "backend/cuda/cubin.h"
#include "backend/cuda/cubin_cache.h"
#include "backend/cuda/driver_api.h"
#include "backend/cuda/kernel_key.h"
#include "backend/cuda/kernel_map.h"
#include "backend/cuda/nvrtc.h"
#include "status.h"

namespace rapt::cuda {

// A kernel in memory, for as long as the process lives.
struct LoadedKernel {
  CUkernel kernel = nullptr;
  const char* name = "";           // its family's
  std::uint32_t shared_bytes = 0;  // dynamic, to launch with
  Resources resources;
};

// The text that a key stands for; `modifier` is the user's snippet whose hash is in the key.
Status kernel_source(const KernelKey& key, std::string_view modifier, Source& source);

// Where kernels of an architecture come from: "NVRTC 13.0.88"; or why none can be had.
struct Means {
  std::string words;
  std::string refusal;
};

// Text to cubins. Needs no GPU; thread-safe.
class Compiler {
 public:
  // This machine's: its compilers and its cache, for its driver where there is one.
  static const Compiler& system();

  // `driver_version` chooses compilers whose cubins that driver loads; 0 where none will load them.
  Compiler(NvrtcFinder& compilers, const CubinCache& cache, int driver_version)
      : compilers_(compilers), cache_(cache), driver_version_(driver_version) {}

  Status compile(const Source& source, Arch arch, Cubin& cubin) const;

  // A cache that was shipped serves without a compiler.
  [[nodiscard]] Means means(Arch arch) const;

 private:
  NvrtcFinder& compilers_;
  const CubinCache& cache_;
  int driver_version_;
};

class Jit {
 public:
  using Load = std::function<Status(const Cubin&, const Source&, Arch, LoadedKernel&)>;

  // `compiler` must outlive it. `load` brings a cubin into memory.
  Jit(const Compiler& compiler, Load load);
  ~Jit();
  Jit(const Jit&) = delete;
  Jit& operator=(const Jit&) = delete;

  // This process's: system driver, NVRTC and cache.
  static Jit& system();

  // Null unless the kernel is in memory. Touches no lock, string or environment.
  [[nodiscard]] const LoadedKernel* find(const KernelKey& key) const { return kernels_.find(key); }

  // Finds it, else waits for whoever compiles it, else compiles it here.
  Status get(const KernelKey& key, const LoadedKernel*& kernel, std::string_view modifier = {});

  // Begins to compile and returns. What goes wrong is told by the get()
  // that wants the kernel.
  void prepare(const KernelKey& key, std::string_view modifier = {});

  // Returns when nothing that was prepared is outstanding.
  void wait();

 private:
  struct Outcome {
    Status status;
    const LoadedKernel* kernel = nullptr;
  };
  // A kernel on its way. Whoever claims it compiles it: a worker, or the first caller who needs it
  // now.
  struct Flight {
    KernelKey key;
    std::string modifier;
    std::atomic_flag claimed;
    std::promise<Outcome> promise;
    std::shared_future<Outcome> outcome = promise.get_future().share();
  };
  struct Hash {
    std::size_t operator()(const KernelKey& key) const { return key.hash(); }
  };

  std::shared_ptr<Flight> board(const KernelKey& key, std::string_view modifier, bool queue);
  void land(Flight& flight);
  Outcome make(const Flight& flight);
  Status make_kernel(const Flight& flight, LoadedKernel& kernel) const;
  void work();
  void start_worker();

  const Compiler& compiler_;
  Load load_;
  KernelMap<LoadedKernel> kernels_;

  std::mutex mutex_;  // of everything below; never taken for a kernel that is in memory
  std::condition_variable changed_;
  std::unordered_map<KernelKey, std::shared_ptr<Flight>, Hash> flights_;
  std::deque<std::shared_ptr<Flight>> queue_;
  std::vector<std::thread> workers_;
  std::size_t idle_ = 0;
  bool closing_ = false;
};

}  // namespace rapt::cuda
