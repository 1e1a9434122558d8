// SPDX-License-Identifier: Apache-2.0 OR MIT
// Sums in global memory that several CTAs add to: as they come, or in turn, which gives the same
// bits in every run. PTX ISA 9.0, the section above each instruction.
#pragma once
#include "types.cuh"

namespace rapt::kernels {
namespace ptx {

// 9.7.13.7 red: adds at the memory's side, without an answer.
__device__ __forceinline__ void add_to_global(float* to, float x) {
  asm volatile("red.global.add.f32 [%0], %1;" ::"l"(to), "f"(x) : "memory");
}

// Four additions side by side, on 16 bytes.
__device__ __forceinline__ void add_to_global(float* to, const float (&x)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(x[0]), "f"(x[1]),
               "f"(x[2]), "f"(x[3])
               : "memory");
#else
#pragma unroll
  for (int i = 0; i < 4; ++i) add_to_global(to + i, x[i]);
#endif
}

// 9.7.13.6 atom: adds 1; what was there before.
__device__ __forceinline__ u32 count_one(u32* counter) {
  u32 before;
  asm volatile("atom.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(counter) : "memory");
  return before;
}

// 9.7.9.8 ld.acquire and 9.7.9.12 st.release: what this thread, or one that it has met at a
// barrier, wrote before the store is seen behind a load that sees the store.
__device__ __forceinline__ u32 load_acquire(const u32* from) {
  u32 x;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(x) : "l"(from) : "memory");
  return x;
}
__device__ __forceinline__ void store_release(u32* to, u32 x) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(to), "r"(x) : "memory");
}

}  // namespace ptx

// Whoever has rank r adds when r have added before it. Ranks follow the order in which CTAs begin,
// so the one that is waited for runs already and the wait ends.
struct Turn {
  u32* count;
  u32 rank;

  __device__ __forceinline__ void wait() const {
    while (ptx::load_acquire(count) != rank) continue;
  }
  __device__ __forceinline__ void pass() const { ptx::store_release(count, rank + 1); }
};

}  // namespace rapt::kernels
