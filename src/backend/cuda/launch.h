// SPDX-License-Identifier: Apache-2.0 OR MIT
// A kernel of this process brought into memory, and launched with one struct of parameters.
#pragma once
#include <algorithm>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/jit.h"
#include "status.h"

namespace rapt::cuda {

inline Status find_loaded(const KernelKey& key, const LoadedKernel** kernel) {
  *kernel = Jit::system().find(key);
  return *kernel != nullptr ? Status{} : Jit::system().get(key, *kernel);
}

// In the current context, on the target's stream.
template <class Params>
Status launch(const LoadedKernel& kernel, Dim3 grid, std::uint32_t threads, Params& params,
              const Target& target) {
  Launch l;
  l.kernel = kernel.kernel;
  l.name = kernel.name;
  l.grid = grid;
  l.block.x = threads;
  l.shared_bytes = kernel.shared_bytes;
  l.stream = static_cast<CUstream>(target.stream);
  void* arguments[] = {&params};
  return Driver::system().launch(l, arguments);
}

// Blocks along x and y of kernels that walk on where a grid is too small.
inline unsigned grid_x(std::int64_t blocks) {
  return static_cast<unsigned>(std::min<std::int64_t>(blocks, INT32_MAX));
}
inline unsigned grid_y(std::int64_t blocks) {
  return static_cast<unsigned>(std::min<std::int64_t>(blocks, 65535));
}

}  // namespace rapt::cuda
