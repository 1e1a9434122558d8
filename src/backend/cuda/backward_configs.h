// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which configuration of a backward's kernels serves a problem: tiles by head size and the device's
// shared memory, features by what the problem has.
#pragma once
#include <cstdint>
#include <vector>

#include "backend/cuda/arch.h"
#include "backend/cuda/forward_configs.h"
#include "backend/cuda/kernel_key.h"
#include "jobs.h"
#include "kernels/cuda/backward_config.h"
#include "problem.h"

namespace rapt::cuda {

enum class BackwardKind {
  portable,  // tensor cores, sm_80 and newer; the same bits in every run
  atomic,    // the same, dQ summed as it comes
  fma        // FP32 multiply-adds; the same bits in every run
};

const KernelFamily& backward_family(BackwardKind kind);
const KernelFamily& backward_rows_family();

// Everything but `aligned`, which addresses decide; of the part that makes dK, dV and dQ. False
// where no tile fits the device's shared memory.
bool configure_backward(BackwardKind kind, const Gradient& gradient, const ForwardLimits& limits,
                        kernels::BackwardConfig* config);

// The part that makes d_bias, of the same tile.
kernels::BackwardConfig bias_config(const kernels::BackwardConfig& config);

// A part of what goes over rows; what it does not read is left at its default.
kernels::BackwardRowsConfig rows_config(BackwardKind kind, const kernels::BackwardConfig& config,
                                        kernels::RowsPart part);

std::uint32_t backward_threads(BackwardKind kind, const kernels::BackwardConfig& config);

// What is compiled ahead, as add_forward_kernels says.
void add_backward_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys);

}  // namespace rapt::cuda
