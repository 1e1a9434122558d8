// SPDX-License-Identifier: Apache-2.0 OR MIT
// Boxes of tensors by the tensor memory accelerator (PTX ISA 9.0, 9.7.9.27). Elements outside a
// tensor arrive as zeros.
#pragma once
#include "../tensor_map.h"
#include "ptx.cuh"

namespace rapt::kernels::ptx {

// The box at (x, y, z, w) to shared memory; its bytes count on `barrier`.
__device__ __forceinline__ void tma_load_4d(u32 to, const TensorMap& map, u32 barrier, int x, int y,
                                            int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}

__device__ __forceinline__ void tma_load_5d(u32 to, const TensorMap& map, u32 barrier, int x, int y,
                                            int z, int w, int v) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(to),
      "l"(&map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v)
      : "memory");
}

// The box at (x, y, z, w, v) from shared memory, where `issues`: as a predicate of the instruction,
// not a branch, behind which the compiler would take nothing for uniform. No coordinate may be
// negative.
__device__ __forceinline__ void tma_store_5d(bool issues, const TensorMap& map, u32 from, int x,
                                             int y, int z, int w, int v) {
  asm volatile(
      "{.reg .pred p; setp.ne.b32 p, %7, 0; "
      "@p cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5, %6}], "
      "[%1];}" ::"l"(&map),
      "r"(from), "r"(x), "r"(y), "r"(z), "r"(w), "r"(v), "r"(static_cast<int>(issues))
      : "memory");
}

__device__ __forceinline__ void bulk_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

// Shared memory that this thread's stores read may be written again.
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

}  // namespace rapt::kernels::ptx
