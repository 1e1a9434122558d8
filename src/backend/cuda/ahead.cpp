// SPDX-License-Identifier: Apache-2.0 OR MIT
// Workers take kernels from a list; the caller's thread tells of them in the list's order.
#include "backend/cuda/ahead.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "backend/cuda/kernel_table.h"
#include "backend/exit_gate.h"

namespace rapt::cuda {
namespace {

constexpr std::size_t kMaxWorkers = 4;  // NVRTC's own lock leaves more of them nothing to do

struct Outcome {
  Status status;
  CompiledKernel kernel;
};

CompiledKernel described(const KernelKey& key) {
  CompiledKernel told;
  told.kernel = key.family->name;
  told.arch = key.arch.name();
  told.config = key.family->words(key.config.data());
  return told;
}

Status compile_one(const Compiler& compiler, const KernelKey& key, CompiledKernel& told) {
  Source source;
  Cubin cubin;
  RAPT_RETURN_IF_ERROR(kernel_source(key, "", source));
  RAPT_RETURN_IF_ERROR(compiler.compile(source, key.arch, cubin));
  if (!cubin.not_kept.empty()) return invalid(cubin.not_kept);
  const Resources& used = cubin.resources;
  told = described(key);
  told.registers = used.registers;
  told.spill_bytes = used.spill_store_bytes + used.spill_load_bytes;
  told.shared_bytes = used.shared_bytes + static_cast<std::int32_t>(source.shared_bytes);
  told.compile_ms = cubin.compile_ms;
  return {};
}

bool wanted(const CompileJob& job, const KernelKey& key) {
  if (job.kernel.empty() || job.kernel == key.family->name) return true;
  const CompiledKernel kernel = described(key);
  return job.kernel == kernel.kernel + " " + kernel.config;
}

Status list_kernels(const CompileJob& job, std::vector<KernelKey>& keys) {
  for (const std::string& name : job.archs) {
    Arch arch;
    if (!parse_arch(name, arch)) {
      return invalid("archs: \"" + name + "\" is no architecture, sm_80 or sm_90a is one");
    }
    for (const KernelKey& key : kernels_ahead(job.preset, arch)) {
      if (wanted(job, key)) keys.push_back(key);
    }
  }
  if (!keys.empty()) return {};
  return invalid("kernel: \"" + job.kernel + "\" is compiled for none of these architectures");
}

// Compiles a list on threads of its own; its end lets them finish what they are at, no more.
class Crew {
 public:
  Crew(const Compiler& compiler, const std::vector<KernelKey>& keys)
      : compiler_(compiler), keys_(keys), outcomes_(keys.size()) {
    ExitGate::arm();
    const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
    const std::size_t count = std::min({cores, kMaxWorkers, keys.size()});
    while (workers_.size() < count) workers_.emplace_back([this] { work(); });
  }
  ~Crew() { next_ = keys_.size(); }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  Outcome take(std::size_t index) { return outcomes_[index].get_future().get(); }

 private:
  void work() {
    for (std::size_t i = next_++; i < keys_.size(); i = next_++) {
      Outcome outcome;
      try {
        outcome.status = compile_one(compiler_, keys_[i], outcome.kernel);
        outcomes_[i].set_value(std::move(outcome));
      } catch (...) {
        outcomes_[i].set_exception(std::current_exception());
      }
    }
  }

  const Compiler& compiler_;
  const std::vector<KernelKey>& keys_;
  std::vector<std::promise<Outcome>> outcomes_;
  std::atomic<std::size_t> next_ = 0;
  std::vector<std::jthread> workers_;  // the last member: they end before what they use
};

}  // namespace

Status compile_ahead(const Compiler& compiler, const CompileJob& job) {
  std::vector<KernelKey> keys;
  RAPT_RETURN_IF_ERROR(list_kernels(job, keys));
  if (job.list_only) {
    for (std::size_t i = 0; i < keys.size(); ++i) job.report(described(keys[i]), i, keys.size());
    return {};
  }
  Crew crew(compiler, keys);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const Outcome outcome = crew.take(i);
    RAPT_RETURN_IF_ERROR(outcome.status);
    job.report(outcome.kernel, i, keys.size());
  }
  return {};
}

}  // namespace rapt::cuda
