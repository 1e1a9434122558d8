// SPDX-License-Identifier: Apache-2.0 OR MIT
// Products of a warpgroup: asynchronous, 64 rows, the second operand in shared memory (PTX ISA 9.0,
// 9.7.16). Tiles stand in panels of 64 columns, 128 bytes a row, in the 128-byte swizzle: 16-byte
// chunk c of row r is at chunk c ^ (r mod 8).
#pragma once
#include "ptx.cuh"

namespace rapt::kernels {

// d (+)= a b, a 64 x 16, b 16 x N; `adds` 0 forgets d. Row r of a thread's two is lane / 4 + 8 r of
// its warp's sixteen, and columns are as in mma.m16n8k16. The host appends the specialisations that
// a kernel uses (src/backend/cuda/wgmma_text.cpp): an instruction names N / 2 registers.
//
//   shared(d, a, b, adds)     a and b: descriptors; columns of a beside each other, as are b's rows
//   registers(d, a, b, adds)  a: registers as mma.m16n8k16 has them; b: rows as they stand
template <Element E, int N>
struct Wgmma;

// A panel in shared memory as an operand; `leading` bytes to the next panel where it spans several.
// What lies further on is an addition away: one uniform instruction between two products.
struct PanelOperand {
  u64 descriptor;

  __device__ __forceinline__ explicit PanelOperand(u32 address, u32 leading = 0) {
    constexpr u64 kSwizzle128 = 1ull << 62, kEightRows = u64(1024 >> 4) << 32;
    descriptor =
        kSwizzle128 | kEightRows | u64(leading >> 4) << 16 | u64((address & 0x3ffffu) >> 4);
  }

  // `bytes` on, inside the tile.
  __device__ __forceinline__ u64 at(int bytes) const { return descriptor + bytes / 16; }
};

namespace ptx {

// Registers and shared memory written so far may be read by products.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int pending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
}

// setmaxnreg (9.7.19.5)
template <int registers>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}

}  // namespace ptx

// Holds whatever reads x behind the statement: the compiler does not know that a wait wrote it.
template <int A, int B>
__device__ __forceinline__ void settle(float (&x)[A][B]) {
#pragma unroll
  for (int a = 0; a < A; ++a) {
#pragma unroll
    for (int b = 0; b < B; ++b) asm volatile("" : "+f"(x[a][b])::"memory");
  }
}

}  // namespace rapt::kernels
