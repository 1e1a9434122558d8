// SPDX-License-Identifier: Apache-2.0 OR MIT
// The kernels for AVX2, FMA and F16C. Compiled with its own flags (cmake/library.cmake).
#include "backend/cpu/simd_avx2.h"

#include "backend/cpu/backward.h"  // written over the Simd above
#include "backend/cpu/forward.h"

namespace rapt::cpu {

const Kernels& avx2() {
  static constexpr Kernels kKernels = {
      "avx2",   kLanes,          grain,          scratch_bytes,
      forward,  combine,         gradient_grain, gradient_scratch_bytes,
      backward, finish_gradient, finish_head};
  return kKernels;
}

}  // namespace rapt::cpu
