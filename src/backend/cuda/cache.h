// SPDX-License-Identifier: Apache-2.0 OR MIT
// The paged cache on CUDA devices: append (cache.cpp), and whole pages copied, cleared or swapped
// with host memory (pages.cpp).
#pragma once
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/kernel_key.h"
#include "jobs.h"
#include "kernels/cuda/cache_config.h"
#include "kernels/cuda/cache_params.h"
#include "status.h"

namespace rapt::cuda {

// Queued on the target's stream. The job's device is one of this machine's.
Status append(const AppendJob& job, const Target& target);
Status move_pages(const PageJob& job, const Target& target);

// What append and move_pages launch with; pure, for tests too.
kernels::AppendConfig append_config(const AppendJob& job);
kernels::AppendParams append_params(const AppendJob& job, const kernels::AppendConfig& config);
kernels::MoveConfig move_config(const PageJob& job);
kernels::MoveParams move_params(const PageJob& job, const kernels::MoveConfig& config);

// Whether the kernel can count one page.
Status check_pages(const PageJob& job);

// Pages that one side has in host memory: copies, with the page ids read back first where they lie
// on the device. In the current context.
Status swap_with_host(const PageJob& job, const Driver& driver, CUstream stream);

// Configurations that are compiled ahead.
void add_append_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys);
void add_move_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys);

}  // namespace rapt::cuda
