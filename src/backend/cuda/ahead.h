// SPDX-License-Identifier: Apache-2.0 OR MIT
// Fills the cache before anybody asks for a kernel, for architectures that need not be here.
#pragma once
#include "backend/cuda/jit.h"
#include "jobs.h"
#include "status.h"

namespace rapt::cuda {

// Stops at the first kernel that cannot be made or kept. Compiles on several threads.
Status compile_ahead(const Compiler& compiler, const CompileJob& job);

}  // namespace rapt::cuda
