// SPDX-License-Identifier: Apache-2.0 OR MIT
// What every machine of this architecture runs: SSE2 or NEON. Compiled with its own flags
// (cmake/library.cmake).
#if defined(__x86_64__)
#include "backend/cpu/simd_sse2.h"
#else
#include "backend/cpu/simd_neon.h"
#endif

#include "backend/cpu/backward.h"  // written over the Simd above
#include "backend/cpu/forward.h"

namespace rapt::cpu {

#if defined(__x86_64__)
constexpr const char* kName = "baseline";
#else
constexpr const char* kName = "neon";
#endif

const Kernels& baseline() {
  static constexpr Kernels kKernels = {
      kName,    kLanes,          grain,          scratch_bytes,
      forward,  combine,         gradient_grain, gradient_scratch_bytes,
      backward, finish_gradient, finish_head};
  return kKernels;
}

}  // namespace rapt::cpu
