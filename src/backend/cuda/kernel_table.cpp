// SPDX-License-Identifier: Apache-2.0 OR MIT
// The rows, and what all of them refuse alike.
#include "backend/cuda/kernel_table.h"

#include <algorithm>

#include "backend/cuda/backward.h"
#include "backend/cuda/cache.h"
#include "backend/cuda/forward.h"
#include "backend/cuda/hopper.h"
#include "backend/cuda/merge.h"
#include "backend/cuda/stream.h"
#include "names.h"

namespace rapt::cuda {
namespace {

Refusal refuse_dtype(const Problem& problem, const char* takes) {
  return Refusal::because("q: dtype is ", name_of(problem.dtype), ", this kernel takes ", takes);
}

// wgmma and mma.sync multiply 16-bit elements.
template <ForwardKind kind>
Refusal refuse_tensor_cores(const Problem& problem, const Device& device) {
  if (problem.dtype != DType::fp16 && problem.dtype != DType::bf16) {
    return refuse_dtype(problem, "fp16 or bf16");
  }
  return refuse_forward(kind, problem, device);
}

Refusal refuse_fma(const Problem& problem, const Device& device) {
  const DType dtype = problem.dtype;
  if (dtype != DType::fp32 && dtype != DType::fp16 && dtype != DType::bf16) {
    return refuse_dtype(problem, "fp32, fp16 or bf16");
  }
  return refuse_forward(ForwardKind::fma, problem, device);
}

constexpr std::int16_t kAnyNewer = INT16_MAX;

constexpr KernelRow kRows[] = {
    {"cuda/hopper_forward", 90, 90, ForwardKind::hopper, suits_hopper,
     refuse_tensor_cores<ForwardKind::hopper>},
    {"cuda/portable_forward", 80, kAnyNewer, ForwardKind::portable, nullptr,
     refuse_tensor_cores<ForwardKind::portable>},
    {"cuda/portable_fma_forward", 70, kAnyNewer, ForwardKind::fma, nullptr, refuse_fma},
};

constexpr GradientRow kGradientRows[] = {
    {"cuda/portable_backward", 80, BackwardKind::portable, false},
    {"cuda/portable_fma_backward", 70, BackwardKind::fma, false},
    {"cuda/portable_backward_atomic", 80, BackwardKind::atomic, true},
};

Refusal too_old(Arch arch, const char* wants, std::int16_t minimum) {
  return Refusal::because("device: is of sm_", arch.number, arch.suffix(), wants, minimum,
                          " or newer");
}

Refusal too_new(Arch arch, std::int16_t maximum) {
  return Refusal::because("device: is of sm_", arch.number, arch.suffix(),
                          ", this kernel is written for sm_", maximum);
}

// Whether the problem is on a usable device of these architectures, and which.
Refusal refuse_device(const Problem& problem, const Machine& machine, std::int16_t minimum,
                      std::int16_t maximum, const Device** device) {
  if (problem.device_kind != DeviceKind::cuda) return refusal_elsewhere(problem);
  if (const Refusal why = machine.refusal(problem.device_index); why.refuses()) return why;
  const auto index = static_cast<std::size_t>(problem.device_index);
  *device = &machine.driver().devices()[index];
  const Arch arch = (*device)->arch;
  if (arch.number < minimum) return too_old(arch, ", this kernel wants sm_", minimum);
  if (arch.number > maximum) return too_new(arch, maximum);
  return {};
}

}  // namespace

std::span<const KernelRow> kernel_table() { return kRows; }

std::span<const GradientRow> gradient_table() { return kGradientRows; }

Refusal refusal(const KernelRow& row, const Problem& problem, const Machine& machine) {
  const Device* device = nullptr;
  const Refusal why = refuse_device(problem, machine, row.minimum, row.maximum, &device);
  return why.refuses() ? why : row.refuse(problem, *device);
}

Refusal refusal(const GradientRow& row, const Gradient& gradient, const Machine& machine,
                const Target& target) {
  const Device* device = nullptr;
  if (const Refusal why = refuse_device(gradient.forward, machine, row.minimum, kAnyNewer, &device);
      why.refuses()) {
    return why;
  }
  if (row.by_name && target.kernel != row.name) {
    return Refusal::because(
        "options.kernel: is not this one, which adds up dq in another order every time and runs "
        "where it is named");
  }
  const Problem& p = gradient.forward;
  const bool halves = p.dtype == DType::fp16 || p.dtype == DType::bf16;
  if (row.kind != BackwardKind::fma && !halves) return refuse_dtype(p, "fp16 or bf16");
  if (!halves && p.dtype != DType::fp32) return refuse_dtype(p, "fp32, fp16 or bf16");
  return refuse_backward(row.kind, gradient, *device);
}

Refusal refusal_elsewhere(const Problem& problem) {
  return Refusal::because("q: is on ", name_of(problem.device_kind), ", this kernel runs on cuda");
}

Refusal refusal_of_arch(Arch arch) {
  std::int16_t oldest = kRows[0].minimum;
  for (const KernelRow& row : kRows) oldest = std::min(oldest, row.minimum);
  return arch.number >= oldest ? Refusal() : too_old(arch, ", kernels want sm_", oldest);
}

std::vector<KernelKey> kernels_ahead(Preset preset, Arch arch) {
  std::vector<KernelKey> keys;
  add_stream_kernels(preset, arch, keys);
  add_forward_kernels(preset, arch, keys);
  add_backward_kernels(preset, arch, keys);
  add_append_kernels(preset, arch, keys);
  add_move_kernels(preset, arch, keys);
  add_merge_kernels(preset, arch, keys);
  return keys;
}

}  // namespace rapt::cuda
