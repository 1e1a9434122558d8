// SPDX-License-Identifier: Apache-2.0 OR MIT
// The kernels for AVX-512 with BF16 dot products. Compiled with its own flags
// (cmake/library.cmake).
#include "backend/cpu/simd_avx512.h"
#include "backend/cpu/simd_avx512_bf16.h"

#include "backend/cpu/backward.h"  // written over the Simd above
#include "backend/cpu/forward.h"

namespace rapt::cpu {

const Kernels& avx512_bf16() {
  static constexpr Kernels kKernels = {
      "avx512_bf16", kLanes,          grain,          scratch_bytes,
      forward,       combine,         gradient_grain, gradient_scratch_bytes,
      backward,      finish_gradient, finish_head};
  return kKernels;
}

}  // namespace rapt::cpu
