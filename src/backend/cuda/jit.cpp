// SPDX-License-Identifier: Apache-2.0 OR MIT
// The cold side of the JIT: who compiles, who waits, and how a cubin becomes a kernel.
#include "backend/cuda/jit.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "backend/cuda/driver.h"
#include "backend/cuda/kernel_text.h"
#include "backend/exit_gate.h"
#include "log.h"

namespace rapt::cuda {
namespace {

// NVRTC holds a lock for the front half of a compilation, so more threads than this bring nothing.
constexpr unsigned kMaxWorkers = 4;

std::string milliseconds(double value) { return std::to_string(static_cast<int>(value)) + " ms"; }

Status load_on_system(const Cubin& cubin, const Source& source, Arch arch, LoadedKernel& kernel) {
  const Driver& driver = Driver::system();
  RAPT_RETURN_IF_ERROR(driver.status());
  RAPT_RETURN_IF_ERROR(driver.load(cubin.code, source.entry.c_str(), kernel.kernel));
  if (source.shared_bytes == 0) return {};
  for (const Device& device : driver.devices()) {
    if (device.arch != arch) continue;
    RAPT_RETURN_IF_ERROR(driver.allow_shared_bytes(kernel.kernel, device, source.shared_bytes));
  }
  return {};
}

}  // namespace

Status kernel_source(const KernelKey& key, std::string_view modifier, Source& source) {
  const KernelFamily& family = *key.family;
  source.name = family.name;
  source.entry = family.entry;
  source.shared_bytes = family.shared_bytes(key.config.data());
  source.text.clear();
  RAPT_RETURN_IF_ERROR(flatten(kernel_files(), family.file, source.text));
  source.text += modifier;
  source.text += "\n#line 1 \"" + source.name + "\"\n" + family.instantiate(key.config.data());
  return {};
}

Status Compiler::compile(const Source& source, Arch arch, Cubin& cubin) const {
  std::string why;
  const Nvrtc* nvrtc = compilers_.find(arch, driver_version_, why);
  const CacheKey key = cache_key(source, arch, nvrtc == nullptr ? "" : nvrtc->version());
  if (cache_.load(key, cubin)) return {};
  if (nvrtc == nullptr) return {RAPT_DEVICE_ERROR, std::move(why)};
  const CubinCache::Lock lock = cache_.lock(key);
  if (lock.held() && cache_.load(key, cubin)) return {};  // another process was faster
  RAPT_RETURN_IF_ERROR(nvrtc->compile(source, arch, cubin));
  log_line("compiled " + source.name + " for " + arch.name() + " in " +
           milliseconds(cubin.compile_ms));
  cubin.not_kept = cache_.store(key, cubin);
  return {};
}

Means Compiler::means(Arch arch) const {
  std::string why;
  const Nvrtc* nvrtc = compilers_.find(arch, driver_version_, why);
  if (nvrtc != nullptr) return {"NVRTC " + nvrtc->version(), ""};
  if (cache_.empty()) return {"", std::move(why)};
  return {"no NVRTC, kernels of " + cache_.directory() + " alone", ""};
}

Jit::Jit(const Compiler& compiler, Load load) : compiler_(compiler), load_(std::move(load)) {}

Jit::~Jit() {
  {
    const std::scoped_lock lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

const Compiler& Compiler::system() {
  // Never destroyed: static destructors may still call.
  static const CubinCache& cache = *new CubinCache(system_cache_settings());
  static const Compiler& compiler =
      *new Compiler(NvrtcFinder::system(), cache, Driver::system().version());
  return compiler;
}

Jit& Jit::system() {
  static Jit jit(Compiler::system(), load_on_system);
  return jit;
}

Status Jit::get(const KernelKey& key, const LoadedKernel*& kernel, std::string_view modifier) {
  kernel = find(key);
  if (kernel != nullptr) return {};
  const std::shared_ptr<Flight> flight = board(key, modifier, false);
  if (flight == nullptr) {
    kernel = find(key);
    return {};
  }
  if (!flight->claimed.test_and_set()) land(*flight);
  const Outcome& outcome = flight->outcome.get();
  kernel = outcome.kernel;
  return outcome.status;
}

void Jit::prepare(const KernelKey& key, std::string_view modifier) {
  if (find(key) != nullptr) return;
  ExitGate::arm();
  board(key, modifier, true);
}

void Jit::wait() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return flights_.empty(); });
}

// The key's flight, a new one if need be; null where the kernel has arrived meanwhile.
std::shared_ptr<Jit::Flight> Jit::board(const KernelKey& key, std::string_view modifier,
                                        bool queue) {
  const std::scoped_lock lock(mutex_);
  if (find(key) != nullptr) return nullptr;
  std::shared_ptr<Flight>& flight = flights_[key];
  if (flight != nullptr) return flight;
  flight = std::make_shared<Flight>();
  flight->key = key;
  flight->modifier = modifier;
  if (queue) {
    queue_.push_back(flight);
    start_worker();
  }
  return flight;
}

// Makes the kernel known, then ends the flight, then wakes who waits: whoever finds no flight finds
// the kernel. A flight that failed leaves nothing, so the next call tries again.
void Jit::land(Flight& flight) {
  Outcome outcome = make(flight);
  {
    const std::scoped_lock lock(mutex_);
    flights_.erase(flight.key);
  }
  changed_.notify_all();
  flight.promise.set_value(std::move(outcome));
}

Jit::Outcome Jit::make(const Flight& flight) {
  try {
    LoadedKernel kernel;
    Status status = make_kernel(flight, kernel);
    if (!status.ok()) return {std::move(status), nullptr};
    return {{}, kernels_.insert(flight.key, std::move(kernel))};
  } catch (const std::exception& error) {
    return {internal(std::string(flight.key.family->name) + ": " + error.what()), nullptr};
  }
}

Status Jit::make_kernel(const Flight& flight, LoadedKernel& kernel) const {
  Source source;
  Cubin cubin;
  RAPT_RETURN_IF_ERROR(kernel_source(flight.key, flight.modifier, source));
  RAPT_RETURN_IF_ERROR(compiler_.compile(source, flight.key.arch, cubin));
  kernel.name = flight.key.family->name;
  kernel.shared_bytes = source.shared_bytes;
  kernel.resources = cubin.resources;
  return load_(cubin, source, flight.key.arch, kernel);
}

void Jit::start_worker() {
  const unsigned limit = std::clamp(std::thread::hardware_concurrency(), 1U, kMaxWorkers);
  if (queue_.size() > idle_ && workers_.size() < limit) workers_.emplace_back([this] { work(); });
  changed_.notify_all();
}

void Jit::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    changed_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    --idle_;
    if (closing_) return;
    const std::shared_ptr<Flight> flight = std::move(queue_.front());
    queue_.pop_front();
    if (flight->claimed.test_and_set()) continue;
    lock.unlock();
    land(*flight);
    lock.lock();
  }
}

}  // namespace rapt::cuda
