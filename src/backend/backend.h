// SPDX-License-Identifier: Apache-2.0 OR MIT
// One interface, several backends. A backend answers which of its kernels takes a problem (each row
// of its table does, or gives its sentence of refusal), how work should be divided for it, and
// launches.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "jobs.h"
#include "problem.h"
#include "rapt/rapt.h"
#include "refusal.h"
#include "status.h"
#include "work.h"

namespace rapt {

struct Schedule;  // work_list.h
struct GradientSchedule;

// Where a verb runs and with what; the caller's rapt_options, checked. Lives no longer than the
// call whose words it shows.
struct Target {
  std::string_view backend;  // "" = any
  std::string_view kernel;   // "" = the first that takes the problem
  void* stream = nullptr;
  std::int32_t threads = 0;  // 0 = the backend's default
  rapt_parallel_for parallel_for = nullptr;
  void* parallel_context = nullptr;
};

// A row of a backend's kernel table, best first.
using KernelIndex = std::size_t;

// A kernel chosen for a problem.
struct Choice {
  class Backend* backend = nullptr;
  KernelIndex kernel = 0;
  Grain grain;

  [[nodiscard]] const char* kernel_name() const;
};

class Backend {
 public:
  virtual ~Backend() = default;
  // Names live as long as the process.
  [[nodiscard]] virtual const char* name() const = 0;
  virtual void devices(std::vector<rapt_device_info>& out) const = 0;

  // The kernel table, in order of preference, and what a row says of a problem.
  [[nodiscard]] virtual std::size_t kernel_count() const = 0;
  [[nodiscard]] virtual const char* kernel_name(KernelIndex) const = 0;
  [[nodiscard]] virtual Refusal refuse(KernelIndex, const Problem&, const Target&) const = 0;
  // Whether the kernel is fast on a problem that it takes. One that is not comes behind those that
  // are.
  [[nodiscard]] virtual bool suits(KernelIndex, const Problem&) const { return true; }
  [[nodiscard]] virtual Grain grain(const Problem&, KernelIndex) const = 0;

  // Bytes of workspace for so many partial rows with so many workers.
  [[nodiscard]] virtual std::size_t workspace_bytes(const Problem&, KernelIndex,
                                                    std::int64_t partial_rows,
                                                    const Target&) const = 0;

  // Memory of the problem's device, 64-byte aligned, for one forward on the target's stream.
  virtual Status allocate(const Problem&, std::size_t bytes, const Target&,
                          void** workspace) const = 0;
  virtual void release(const Problem&, void* workspace, const Target&) const = 0;

  // Brings up what forward would otherwise have to make on its first call: threads, compiled
  // kernels.
  virtual Status load(const Problem&, KernelIndex, const Schedule&, const Target&) const {
    return {};
  }
  // The same; where that takes long it is only begun.
  virtual Status prepare(const Problem& problem, KernelIndex kernel, const Schedule& schedule,
                         const Target& target) const {
    return load(problem, kernel, schedule, target);
  }

  // Runs a schedule. Allocates nothing; `workspace` has workspace_bytes() bytes, 64-byte aligned.
  virtual Status forward(const Problem&, std::span<const Sequence>, const Schedule&, KernelIndex,
                         void* workspace, const Target&) const = 0;

  // What stands in the way of verbs without a kernel table on the device that `field` is on.
  [[nodiscard]] virtual Status usable(const char* field, std::int32_t device_index) const = 0;

  // Fills `to` from a device's memory, as it will be when all that is queued on the target's stream
  // is done; waits for that. Only RAPT_CHECK asks for it.
  virtual Status read_back(std::int32_t /*device_index*/, const void* /*from*/,
                           std::span<std::byte> /*to*/, const Target&) const {
    return unsupported(std::string("RAPT_CHECK: ") + name() + " has no memory to read back");
  }

  // The table of backward kernels, the same questions and the launch. A backend without one has
  // no rows, and is never asked more.
  [[nodiscard]] virtual std::size_t gradient_kernel_count() const { return 0; }
  [[nodiscard]] virtual const char* gradient_kernel_name(KernelIndex) const { return ""; }
  [[nodiscard]] virtual Refusal refuse_gradient(KernelIndex, const Gradient&, const Target&) const {
    return Refusal::because("direction: ", name(), " has no backward kernels");
  }
  [[nodiscard]] virtual Grain gradient_grain(const Problem&, KernelIndex) const { return {}; }
  [[nodiscard]] virtual std::size_t gradient_workspace_bytes(const Gradient&,
                                                             const GradientSchedule&, KernelIndex,
                                                             const Target&) const {
    return 0;
  }
  virtual Status backward(const Gradient&, std::span<const Sequence>, const GradientSchedule&,
                          KernelIndex, void* /*workspace*/, const Target&) const {
    return internal(std::string("direction: ") + name() + " has no backward kernels");
  }

  virtual Status append(const AppendJob&, const Target&) const = 0;
  virtual Status move_pages(const PageJob&, const Target&) const = 0;
  virtual Status merge(const MergeJob&, const Target&) const = 0;

  // Compiles for named architectures, whose devices need not be here.
  virtual Status compile(const CompileJob&) const {
    return unsupported(std::string("compile: ") + name() + " kernels are compiled with rapt");
  }
};

inline const char* Choice::kernel_name() const { return backend->kernel_name(kernel); }

// The backends of this build, best first. Those without a usable device are in the list too, and
// say why.
std::span<Backend* const> backends();

}  // namespace rapt
