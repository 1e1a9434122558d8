// SPDX-License-Identifier: Apache-2.0 OR MIT
// The rows, and what all of them refuse alike.
#include "backend/cuda/kernel_table.h"

#include <algorithm>

#include "backend/cuda/cache.h"
#include "backend/cuda/forward.h"
#include "backend/cuda/merge.h"
#include "backend/cuda/stream.h"
#include "names.h"

namespace rapt::cuda {
namespace {

std::string refuse_dtype(const Problem& problem, const char* takes) {
  return std::string("q: dtype is ") + name_of(problem.dtype) + ", this kernel takes " + takes;
}

// mma.sync multiplies 16-bit elements.
std::string refuse_portable(const Problem& problem, const Device& device) {
  if (problem.dtype != DType::fp16 && problem.dtype != DType::bf16) {
    return refuse_dtype(problem, "fp16 or bf16");
  }
  return refuse_forward(ForwardKind::portable, problem, device);
}

std::string refuse_fma(const Problem& problem, const Device& device) {
  const DType dtype = problem.dtype;
  if (dtype != DType::fp32 && dtype != DType::fp16 && dtype != DType::bf16) {
    return refuse_dtype(problem, "fp32, fp16 or bf16");
  }
  return refuse_forward(ForwardKind::fma, problem, device);
}

constexpr KernelRow kRows[] = {
    {"cuda/portable_forward", 80, ForwardKind::portable, refuse_portable},
    {"cuda/portable_fma_forward", 70, ForwardKind::fma, refuse_fma},
};

std::string too_old(Arch arch, std::int16_t minimum) {
  return "device: is of " + arch.name() + ", this kernel wants " + Arch{minimum, 0}.name() +
         " or newer";
}

}  // namespace

std::span<const KernelRow> kernel_table() { return kRows; }

const KernelRow* find_kernel(const std::string& name) {
  const auto* row = std::find_if(std::begin(kRows), std::end(kRows),
                                 [&](const auto& r) { return name == r.name; });
  return row == std::end(kRows) ? nullptr : row;
}

std::string refusal(const KernelRow& row, const Problem& problem, const Machine& machine) {
  if (problem.device_kind != DeviceKind::cuda) return refusal_elsewhere(problem);
  if (std::string why = machine.refusal(problem.device_index); !why.empty()) return why;
  const auto index = static_cast<std::size_t>(problem.device_index);
  const Device& device = machine.driver().devices()[index];
  if (device.arch.number < row.minimum) return too_old(device.arch, row.minimum);
  return row.refuse(problem, device);
}

std::string refusal_elsewhere(const Problem& problem) {
  return std::string("q: is on ") + name_of(problem.device_kind) + ", this kernel runs on cuda";
}

std::string refusal_of_arch(Arch arch) {
  std::int16_t oldest = kRows[0].minimum;
  for (const KernelRow& row : kRows) oldest = std::min(oldest, row.minimum);
  if (arch.number >= oldest) return "";
  return "device: is of " + arch.name() + ", kernels want " + Arch{oldest, 0}.name() + " or newer";
}

std::vector<KernelKey> kernels_ahead(Preset preset, Arch arch) {
  std::vector<KernelKey> keys;
  add_stream_kernels(preset, arch, keys);
  add_forward_kernels(preset, arch, keys);
  add_append_kernels(preset, arch, keys);
  add_move_kernels(preset, arch, keys);
  add_merge_kernels(preset, arch, keys);
  return keys;
}

}  // namespace rapt::cuda
