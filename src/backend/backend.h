// SPDX-License-Identifier: Apache-2.0 OR MIT
// One interface, several backends. A backend answers which of its kernels takes a problem (each row
// of its table does, or gives its sentence of refusal), how work should be divided for it, and
// launches.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "jobs.h"
#include "problem.h"
#include "rapt/rapt.h"
#include "status.h"
#include "work.h"

namespace rapt {

struct Schedule;  // work_list.h

// Where a verb runs and with what; the caller's rapt_options, checked.
struct Target {
  std::string backend;  // "" = any
  std::string kernel;   // "" = the first that takes the problem
  void* stream = nullptr;
  std::int32_t threads = 0;  // 0 = the backend's default
  rapt_parallel_for parallel_for = nullptr;
  void* parallel_context = nullptr;
};

// One row of a kernel table, asked about one problem.
struct Candidate {
  std::string kernel;   // "cpu/avx512_forward"
  std::string refusal;  // "" = takes it
};

// A kernel chosen for a problem.
struct Choice {
  class Backend* backend = nullptr;
  std::string kernel;
  Grain grain;
};

class Backend {
 public:
  virtual ~Backend() = default;
  [[nodiscard]] virtual std::string name() const = 0;
  virtual void devices(std::vector<rapt_device_info>& out) const = 0;

  // Every kernel of the table with its answer, in order of preference.
  [[nodiscard]] virtual std::vector<Candidate> candidates(const Problem&, const Target&) const = 0;
  [[nodiscard]] virtual Grain grain(const Problem&, const std::string& kernel) const = 0;

  // Bytes of workspace for so many partial rows with so many workers.
  [[nodiscard]] virtual std::size_t workspace_bytes(const Problem&, const std::string& kernel,
                                                    std::int64_t partial_rows,
                                                    const Target&) const = 0;

  // Memory of the problem's device, 64-byte aligned, for one forward on the target's stream.
  virtual Status allocate(const Problem&, std::size_t bytes, const Target&,
                          void** workspace) const = 0;
  virtual void release(const Problem&, void* workspace, const Target&) const = 0;

  // Brings up what forward would otherwise have to make on its first call: threads, compiled
  // kernels.
  virtual Status load(const Problem&, const std::string& /*kernel*/, const Schedule&,
                      const Target&) const {
    return {};
  }
  // The same; where that takes long it is only begun.
  virtual Status prepare(const Problem& problem, const std::string& kernel,
                         const Schedule& schedule, const Target& target) const {
    return load(problem, kernel, schedule, target);
  }

  // Runs a schedule. Allocates nothing; `workspace` has workspace_bytes() bytes, 64-byte aligned.
  virtual Status forward(const Problem&, std::span<const Sequence>, const Schedule&,
                         const std::string& kernel, void* workspace, const Target&) const = 0;

  virtual Status append(const AppendJob&, const Target&) const = 0;
  virtual Status move_pages(const PageJob&, const Target&) const = 0;
  virtual Status merge(const MergeJob&, const Target&) const = 0;

  // Compiles for named architectures, whose devices need not be here.
  virtual Status compile(const CompileJob&) const {
    return unsupported("compile: " + name() + " kernels are compiled with rapt");
  }
};

// The backends of this build, best first. Those without a usable device are in the list too, and
// say why.
std::span<Backend* const> backends();

}  // namespace rapt
