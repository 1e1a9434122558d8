// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tensor as the tensor memory accelerator sees it. Read by the host's compiler and by NVRTC.
#pragma once

namespace rapt::kernels {

// The driver's CUtensorMap, bit for bit. Kernels take it as a parameter, by value.
struct alignas(64) TensorMap {
  unsigned long long opaque[16];
};

}  // namespace rapt::kernels
