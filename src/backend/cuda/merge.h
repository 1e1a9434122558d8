// SPDX-License-Identifier: Apache-2.0 OR MIT
// merge on CUDA devices: one launch, or a chain of them where parts are many.
#pragma once
#include <cstddef>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/kernel_key.h"
#include "jobs.h"
#include "kernels/cuda/merge_config.h"
#include "kernels/cuda/merge_params.h"
#include "status.h"

namespace rapt::cuda {

// Queued on the target's stream. The job's device is one of this machine's. Only a chain needs
// memory of its own: of the device's pool, in the order of the stream.
Status merge(const MergeJob& job, const Target& target);

// What merge launches with; pure, for tests too. `carried` has merge_carried_bytes().
kernels::MergeConfig merge_config(const MergeJob& job);
kernels::MergeParams merge_params(const MergeJob& job, std::size_t first_part, float* carried);
std::size_t merge_carried_bytes(const MergeJob& job);  // 0: one launch does it

// Configurations that are compiled ahead.
void add_merge_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys);

}  // namespace rapt::cuda
