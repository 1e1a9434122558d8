// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CUDA backend. It asks nothing of the machine until a problem on a CUDA device, or a question
// about devices, comes.
#pragma once
#include "backend/backend.h"
#include "backend/cuda/machine.h"

namespace rapt::cuda {

class CudaBackend final : public Backend {
 public:
  using MachineOf = const Machine& (*)();

  explicit CudaBackend(MachineOf machine) : machine_(machine) {}

  [[nodiscard]] const char* name() const override { return "cuda"; }
  void devices(std::vector<rapt_device_info>& out) const override;

  [[nodiscard]] std::size_t kernel_count() const override;
  [[nodiscard]] const char* kernel_name(KernelIndex kernel) const override;
  [[nodiscard]] Refusal refuse(KernelIndex kernel, const Problem& problem,
                               const Target& target) const override;
  [[nodiscard]] bool suits(KernelIndex kernel, const Problem& problem) const override;
  [[nodiscard]] Grain grain(const Problem& problem, KernelIndex kernel) const override;
  [[nodiscard]] std::size_t workspace_bytes(const Problem& problem, KernelIndex kernel,
                                            std::int64_t partial_rows,
                                            const Target& target) const override;
  Status allocate(const Problem& problem, std::size_t bytes, const Target& target,
                  void** workspace) const override;
  void release(const Problem& problem, void* workspace, const Target& target) const override;
  Status prepare(const Problem& problem, KernelIndex kernel, const Schedule& schedule,
                 const Target& target) const override;
  Status load(const Problem& problem, KernelIndex kernel, const Schedule& schedule,
              const Target& target) const override;
  Status forward(const Problem& problem, std::span<const Sequence> sequences,
                 const Schedule& schedule, KernelIndex kernel, void* workspace,
                 const Target& target) const override;

  [[nodiscard]] Status usable(const char* field, std::int32_t device_index) const override;
  Status read_back(std::int32_t device_index, const void* from, std::span<std::byte> to,
                   const Target& target) const override;

  [[nodiscard]] std::size_t gradient_kernel_count() const override;
  [[nodiscard]] const char* gradient_kernel_name(KernelIndex kernel) const override;
  [[nodiscard]] Refusal refuse_gradient(KernelIndex kernel, const Gradient& gradient,
                                        const Target& target) const override;
  [[nodiscard]] std::size_t gradient_workspace_bytes(const Gradient& gradient,
                                                     const GradientSchedule& schedule,
                                                     KernelIndex kernel,
                                                     const Target& target) const override;
  Status backward(const Gradient& gradient, std::span<const Sequence> sequences,
                  const GradientSchedule& schedule, KernelIndex kernel, void* workspace,
                  const Target& target) const override;

  Status append(const AppendJob& job, const Target& target) const override;
  Status move_pages(const PageJob& job, const Target& target) const override;
  Status merge(const MergeJob& job, const Target& target) const override;
  Status compile(const CompileJob& job) const override;

 private:
  MachineOf machine_;
};

Backend& backend();

}  // namespace rapt::cuda
