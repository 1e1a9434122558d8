// SPDX-License-Identifier: Apache-2.0 OR MIT
// Barriers in shared memory on which warps of different roles, and the copies that they start, wait
// for one another (PTX ISA 9.0, 9.7.13.15), and rings of stages between a producer and consumers.
#pragma once
#include "ptx.cuh"

namespace rapt::kernels {

namespace ptx {

__device__ __forceinline__ void mbarrier_init(u32 barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Initialised barriers become visible to the copies of this CTA.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(u32 barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and has the phase wait for `bytes` that copies will bring.
__device__ __forceinline__ void mbarrier_arrive_expect(u32 barrier, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Returns once the phase of parity `parity` has ended. In one block of assembly: as a loop of C++
// around wgmma it would make ptxas serialise the products (warning C7512).
__device__ __forceinline__ void mbarrier_wait(u32 barrier, u32 parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// Ordinary writes to shared memory become visible to wgmma and bulk copies (9.7.13.4).
__device__ __forceinline__ void fence_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

}  // namespace ptx

// A ring of stages: a barrier that a stage is full and one that it is empty, side by side.
template <int stages>
struct Ring {
  static constexpr int kBytes = 16 * stages;

  u32 barriers;

  // By one thread.
  __device__ __forceinline__ void init(int producers, int consumers) const {
    for (int i = 0; i < stages; ++i) {
      ptx::mbarrier_init(full(i), producers);
      ptx::mbarrier_init(empty(i), consumers);
    }
  }
  __device__ __forceinline__ u32 full(u32 stage) const { return barriers + 16 * stage; }
  __device__ __forceinline__ u32 empty(u32 stage) const { return full(stage) + 8; }
};

// Where one role stands in a ring: stages it has been through. Every role counts for itself.
template <int stages>
struct RingPlace {
  u32 steps = 0;

  __device__ __forceinline__ u32 stage() const { return steps % stages; }
  __device__ __forceinline__ u32 phase() const { return steps / stages & 1; }
  __device__ __forceinline__ void wait_full(const Ring<stages>& ring) const {
    ptx::mbarrier_wait(ring.full(stage()), phase());
  }
  // The first time round every stage is empty.
  __device__ __forceinline__ void wait_empty(const Ring<stages>& ring) const {
    ptx::mbarrier_wait(ring.empty(stage()), phase() ^ 1);
  }
};

}  // namespace rapt::kernels
