// SPDX-License-Identifier: Apache-2.0 OR MIT
// The streaming kernel's family: the measured memory ceiling, and the smallest example of a family.
#pragma once
#include <vector>

#include "backend/cuda/kernel_key.h"
#include "jobs.h"

namespace rapt::cuda {

// Configured by kernels::StreamConfig, launched with kernels::StreamParams.
const KernelFamily& stream_family();

// Its configurations that are compiled ahead.
void add_stream_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys);

}  // namespace rapt::cuda
