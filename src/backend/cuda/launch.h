// SPDX-License-Identifier: Apache-2.0 OR MIT
// The device of a call, a kernel brought into memory there, and launched with one struct of
// parameters.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "backend/backend.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/jit.h"
#include "status.h"

namespace rapt::cuda {

// Says so where the target's stream is being captured, and what wants to be compiled or loaded
// (which no capture allows) is `kernel`.
Status refuse_capture(const Target& target, const char* kernel);

// The kernel of a key, compiled and loaded first if need be.
inline Status find_loaded(const KernelKey& key, const Target& target, const LoadedKernel** kernel) {
  *kernel = Jit::system().find(key);
  if (*kernel != nullptr) return {};
  RAPT_RETURN_IF_ERROR(refuse_capture(target, key.family->name));
  return Jit::system().get(key, *kernel);
}

// A device of this process, with a context of it current for the scope.
class DeviceScope {
 public:
  DeviceScope(int ordinal, const Target& target)
      : target_(target), ordinal_(ordinal), context_(driver(), ordinal, stream()) {}

  [[nodiscard]] const Status& status() const { return context_.status(); }
  [[nodiscard]] const Driver& driver() const { return Driver::system(); }
  [[nodiscard]] CUstream stream() const { return static_cast<CUstream>(target_.stream); }

  template <class Config>
  Status find(const KernelFamily& family, const Config& config, const LoadedKernel** kernel) const {
    const Arch arch = driver().devices()[static_cast<std::size_t>(ordinal_)].arch;
    return find_loaded(kernel_key(family, config, arch), target_, kernel);
  }

 private:
  const Target& target_;
  int ordinal_;
  ContextScope context_;
};

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
