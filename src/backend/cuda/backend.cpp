// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CUDA backend's answers. A machine without CUDA is one of them: a sentence, never a failure.
#include "backend/cuda/backend.h"

#include <cstdio>

#include "backend/cuda/ahead.h"
#include "backend/cuda/backward.h"
#include "backend/cuda/cache.h"
#include "backend/cuda/forward.h"
#include "backend/cuda/kernel_table.h"
#include "backend/cuda/merge.h"

namespace rapt::cuda {
namespace {

rapt_device_info device_info(std::int32_t index, const std::string& name) {
  rapt_device_info info{};
  info.struct_size = sizeof info;
  info.index = index;
  std::snprintf(info.backend, sizeof info.backend, "cuda");
  std::snprintf(info.name, sizeof info.name, "%s", name.c_str());
  return info;
}

void set_detail(rapt_device_info& info, const std::string& detail) {
  std::snprintf(info.detail, sizeof info.detail, "%s", detail.c_str());
}

std::string driver_words(const Driver& driver) {
  const int version = driver.version();
  return "driver of CUDA " + std::to_string(version / 1000) + "." +
         std::to_string(version % 1000 / 10);
}

rapt_device_info describe(const Machine& machine, std::int32_t ordinal) {
  const Device& device = machine.driver().devices()[static_cast<std::size_t>(ordinal)];
  rapt_device_info info = device_info(ordinal, device.name);
  info.memory_bytes = static_cast<std::int64_t>(device.memory_bytes);
  info.workers = device.multiprocessors;
  Refusal refusal = refusal_of_arch(device.arch);
  if (!refusal.refuses()) refusal = machine.refusal(ordinal);
  info.available = refusal.refuses() ? 0 : 1;
  set_detail(info, info.available == 0
                       ? device.arch.name() + "; " + refusal.sentence()
                       : device.arch.name() + ", " + driver_words(machine.driver()) + ", " +
                             machine.means(ordinal).words);
  return info;
}

ForwardKind kind_of(KernelIndex kernel) { return kernel_table()[kernel].kind; }

}  // namespace

void CudaBackend::devices(std::vector<rapt_device_info>& out) const {
  const Machine& machine = machine_();
  const Status& status = machine.driver().status();
  if (!status.ok()) {
    out.push_back(device_info(0, "no usable device"));
    set_detail(out.back(), status.sentence());
    return;
  }
  const auto count = static_cast<std::int32_t>(machine.driver().devices().size());
  for (std::int32_t ordinal = 0; ordinal < count; ++ordinal) {
    out.push_back(describe(machine, ordinal));
  }
}

std::size_t CudaBackend::kernel_count() const { return kernel_table().size(); }

const char* CudaBackend::kernel_name(KernelIndex kernel) const {
  return kernel_table()[kernel].name;
}

Refusal CudaBackend::refuse(KernelIndex kernel, const Problem& problem, const Target&) const {
  if (problem.device_kind != DeviceKind::cuda) return refusal_elsewhere(problem);
  return refusal(kernel_table()[kernel], problem, machine_());
}

bool CudaBackend::suits(KernelIndex kernel, const Problem& problem) const {
  const auto suits = kernel_table()[kernel].suits;
  return suits == nullptr || suits(problem);
}

Grain CudaBackend::grain(const Problem& problem, KernelIndex kernel) const {
  const auto index = static_cast<std::size_t>(problem.device_index);
  return forward_grain(kind_of(kernel), problem, machine_().driver().devices()[index]);
}

std::size_t CudaBackend::workspace_bytes(const Problem& problem, KernelIndex,
                                         std::int64_t partial_rows, const Target&) const {
  return forward_workspace_bytes(problem, partial_rows);
}

Status CudaBackend::allocate(const Problem& problem, std::size_t bytes, const Target& target,
                             void** workspace) const {
  *workspace = nullptr;
  if (bytes == 0) return {};
  const Driver& driver = machine_().driver();
  const auto stream = static_cast<CUstream>(target.stream);
  ContextScope scope(driver, problem.device_index, stream);
  RAPT_RETURN_IF_ERROR(scope.status());
  return driver.allocate_async(bytes, *workspace, stream);
}

// What goes wrong here went wrong before, and was told by the launch.
void CudaBackend::release(const Problem& problem, void* workspace, const Target& target) const {
  const Driver& driver = machine_().driver();
  const auto stream = static_cast<CUstream>(target.stream);
  ContextScope scope(driver, problem.device_index, stream);
  if (scope.status().ok()) (void)driver.release_async(workspace, stream);
}

Status CudaBackend::prepare(const Problem& problem, KernelIndex kernel, const Schedule& schedule,
                            const Target& target) const {
  return prepare_forward(kind_of(kernel), problem, schedule.grid, target);
}

Status CudaBackend::load(const Problem& problem, KernelIndex kernel, const Schedule& schedule,
                         const Target& target) const {
  return load_forward(kind_of(kernel), problem, schedule.grid, target);
}

Status CudaBackend::forward(const Problem& problem, std::span<const Sequence>,
                            const Schedule& schedule, KernelIndex kernel, void* workspace,
                            const Target& target) const {
  return cuda::forward(kind_of(kernel), problem, schedule.grid, workspace, target);
}

Status CudaBackend::usable(const char* field, std::int32_t device_index) const {
  const Machine& machine = machine_();
  Refusal why = machine.refusal(device_index, field);
  if (!why.refuses()) {
    why = refusal_of_arch(machine.driver().devices()[static_cast<std::size_t>(device_index)].arch);
  }
  return why.refuses() ? unsupported(why.sentence()) : Status{};
}

Status CudaBackend::read_back(std::int32_t device_index, const void* from, std::span<std::byte> to,
                              const Target& target) const {
  const Driver& driver = machine_().driver();
  const auto stream = static_cast<CUstream>(target.stream);
  ContextScope scope(driver, device_index, stream);
  RAPT_RETURN_IF_ERROR(scope.status());
  bool capturing = false;
  RAPT_RETURN_IF_ERROR(driver.is_capturing(stream, capturing));
  if (!capturing) return driver.read_back(from, to, stream);
  return unsupported(
      "RAPT_CHECK: is 1 and a graph is being captured; indices on the device cannot be read then");
}

std::size_t CudaBackend::gradient_kernel_count() const { return gradient_table().size(); }

const char* CudaBackend::gradient_kernel_name(KernelIndex kernel) const {
  return gradient_table()[kernel].name;
}

Refusal CudaBackend::refuse_gradient(KernelIndex kernel, const Gradient& gradient,
                                     const Target& target) const {
  if (gradient.forward.device_kind != DeviceKind::cuda) return refusal_elsewhere(gradient.forward);
  return refusal(gradient_table()[kernel], gradient, machine_(), target);
}

std::size_t CudaBackend::gradient_workspace_bytes(const Gradient& gradient, const GradientSchedule&,
                                                  KernelIndex kernel, const Target&) const {
  return backward_workspace_bytes(gradient_table()[kernel].kind, gradient);
}

// A device reads its own lengths: neither sequences nor the schedule's rounds matter here.
Status CudaBackend::backward(const Gradient& gradient, std::span<const Sequence>,
                             const GradientSchedule&, KernelIndex kernel, void* workspace,
                             const Target& target) const {
  return cuda::backward(gradient_table()[kernel].kind, gradient, workspace, target);
}

Status CudaBackend::append(const AppendJob& job, const Target& target) const {
  return cuda::append(job, target);
}

Status CudaBackend::move_pages(const PageJob& job, const Target& target) const {
  return cuda::move_pages(job, target);
}

Status CudaBackend::merge(const MergeJob& job, const Target& target) const {
  return cuda::merge(job, target);
}

Status CudaBackend::compile(const CompileJob& job) const {
  return compile_ahead(Compiler::system(), job);
}

Backend& backend() {
  static CudaBackend& cuda = *new CudaBackend(Machine::system);  // outlives every caller
  return cuda;
}

}  // namespace rapt::cuda
