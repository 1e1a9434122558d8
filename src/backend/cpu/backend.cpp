// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CPU's driver: hands the items of a schedule to workers, then the combines. What one item
// computes is the business of the instruction set's kernels.
#include "backend/cpu/backend.h"

#include <cstdio>
#include <cstdlib>
#include <string>
#include <type_traits>

#include "backend/cpu/cache.h"
#include "backend/cpu/dispatch.h"
#include "backend/cpu/gradient.h"
#include "backend/cpu/kernel.h"
#include "backend/cpu/machine.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/thread_pool.h"
#include "backend/cpu/workspace.h"
#include "work_list.h"

namespace rapt::cpu {
namespace {

// The workspace: partial sums, their maxima and their sums of exponentials, then a scratch a
// worker.
struct Layout {
  std::size_t out_bytes = 0;
  std::size_t row_bytes = 0;
  std::size_t scratch_bytes = 0;

  Layout(const Problem& problem, const Kernels& kernels, std::int64_t partial_rows) {
    const auto rows = static_cast<std::size_t>(partial_rows);
    out_bytes = rounded(rows * static_cast<std::size_t>(problem.value_dim) * sizeof(float));
    row_bytes = rounded(rows * sizeof(float));
    scratch_bytes = rounded(kernels.scratch_bytes(problem));
  }

  [[nodiscard]] std::size_t scratch_begin() const { return out_bytes + 2 * row_bytes; }

  [[nodiscard]] Partials partials(std::byte* workspace) const {
    const auto floats = [&](std::size_t at) { return reinterpret_cast<float*>(workspace + at); };
    return {floats(0), floats(out_bytes), floats(out_bytes + row_bytes)};
  }

  [[nodiscard]] std::byte* scratch(std::byte* workspace, std::int32_t slot) const {
    return workspace + scratch_begin() + static_cast<std::size_t>(slot) * scratch_bytes;
  }
};

std::string instruction_sets() {
  std::string names;
  for (const KernelRow& row : kernel_table()) {
    if (missing_feature(row.isa, this_cpu()) == nullptr) names += std::string(" ") + row.isa;
  }
  const std::string& forced = environment().isa;
  return names.substr(1) + (forced.empty() ? "" : "; RAPT_ISA forces " + forced);
}

class CpuBackend final : public Backend {
 public:
  [[nodiscard]] const char* name() const override { return "cpu"; }

  void devices(std::vector<rapt_device_info>& out) const override {
    const Status& status = environment().status;
    rapt_device_info info{};
    info.struct_size = sizeof info;
    info.available = status.ok() ? 1 : 0;
    const std::string detail = status.ok() ? instruction_sets() : status.sentence();
    std::snprintf(info.backend, sizeof info.backend, "cpu");
    std::snprintf(info.name, sizeof info.name, "%s", cpu_model().c_str());
    std::snprintf(info.detail, sizeof info.detail, "%s", detail.c_str());
    info.memory_bytes = memory_bytes();
    info.workers = worker_count({});
    out.push_back(info);
  }

  [[nodiscard]] std::size_t kernel_count() const override { return kernel_table().size(); }

  [[nodiscard]] const char* kernel_name(KernelIndex kernel) const override {
    return kernel_table()[kernel].forward;
  }

  [[nodiscard]] Refusal refuse(KernelIndex kernel, const Problem& problem,
                               const Target&) const override {
    return refusal(kernel_table()[kernel], problem, environment(), this_cpu());
  }

  [[nodiscard]] Grain grain(const Problem& problem, KernelIndex kernel) const override {
    return kernel_table()[kernel].kernels().grain(problem);
  }

  [[nodiscard]] std::size_t workspace_bytes(const Problem& problem, KernelIndex kernel,
                                            std::int64_t partial_rows,
                                            const Target& target) const override {
    const Layout layout(problem, kernel_table()[kernel].kernels(), partial_rows);
    const auto workers = static_cast<std::size_t>(worker_count(target));
    return layout.scratch_begin() + workers * layout.scratch_bytes;
  }

  Status allocate(const Problem&, std::size_t bytes, const Target&,
                  void** workspace) const override {
    const std::size_t rounded = bytes / kAlignment * kAlignment + kAlignment;
    *workspace = rounded > bytes ? std::aligned_alloc(kAlignment, rounded) : nullptr;
    if (*workspace != nullptr) return {};
    return out_of_memory("workspace: " + std::to_string(bytes) + " bytes could not be allocated");
  }

  void release(const Problem&, void* workspace, const Target&) const override {
    std::free(workspace);
  }

  Status load(const Problem&, KernelIndex, const Schedule&, const Target& target) const override {
    if (target.parallel_for == nullptr) ThreadPool::shared().reserve(worker_count(target));
    return {};
  }

  Status forward(const Problem& problem, std::span<const Sequence> sequences,
                 const Schedule& schedule, KernelIndex kernel, void* workspace,
                 const Target& target) const override {
    const Kernels& kernels = kernel_table()[kernel].kernels();
    const Layout layout(problem, kernels, schedule.partial_rows);
    auto* memory = static_cast<std::byte*>(workspace);
    const ForwardCall call{&problem, sequences.data(), layout.partials(memory)};
    const auto run_all = [&](const auto& items, auto kernel_of_item) {
      const auto count = static_cast<std::int64_t>(items.size());
      parallel_for(target, count, [&](std::int64_t index, std::int32_t slot) {
        kernel_of_item(call, items[static_cast<std::size_t>(index)], layout.scratch(memory, slot));
      });
    };
    run_all(schedule.items, kernels.forward);
    run_all(schedule.combines, kernels.combine);
    return {};
  }

  [[nodiscard]] Status usable(const char*, std::int32_t) const override {
    return environment().status;
  }

  [[nodiscard]] std::size_t gradient_kernel_count() const override { return kernel_table().size(); }

  [[nodiscard]] const char* gradient_kernel_name(KernelIndex kernel) const override {
    return kernel_table()[kernel].backward;
  }

  [[nodiscard]] Refusal refuse_gradient(KernelIndex kernel, const Gradient& gradient,
                                        const Target&) const override {
    return gradient_refusal(kernel_table()[kernel], gradient, environment(), this_cpu());
  }

  [[nodiscard]] Grain gradient_grain(const Problem& problem, KernelIndex kernel) const override {
    return kernel_table()[kernel].kernels().gradient_grain(problem);
  }

  [[nodiscard]] std::size_t gradient_workspace_bytes(const Gradient& gradient,
                                                     const GradientSchedule& schedule,
                                                     KernelIndex kernel,
                                                     const Target& target) const override {
    return gradient_bytes(gradient, schedule, kernel_table()[kernel].kernels(), target);
  }

  Status backward(const Gradient& gradient, std::span<const Sequence> sequences,
                  const GradientSchedule& schedule, KernelIndex kernel, void* workspace,
                  const Target& target) const override {
    run_gradient(gradient, sequences, schedule, kernel_table()[kernel].kernels(),
                 static_cast<std::byte*>(workspace), target);
    return {};
  }

  Status append(const AppendJob& job, const Target& target) const override {
    return cpu::append(job, target);
  }

  Status move_pages(const PageJob& job, const Target& target) const override {
    return cpu::move_pages(job, target);
  }

  Status merge(const MergeJob& job, const Target& target) const override {
    return cpu::merge(job, target);
  }
};

}  // namespace

Backend& backend() {
  static CpuBackend& cpu = *new CpuBackend;  // outlives every caller, static destructors included
  return cpu;
}

}  // namespace rapt::cpu
