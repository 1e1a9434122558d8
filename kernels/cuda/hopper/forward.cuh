// SPDX-License-Identifier: Apache-2.0 OR MIT
// Forward on Hopper (FlashAttention-3's division of labour): persistent CTAs in which one warpgroup
// moves and the others multiply. Of the movers' warps one schedules, three load; docs/kernels.md
// draws who waits for whom.
#pragma once
#include "load.cuh"
#include "math.cuh"
#include "schedule.cuh"

namespace rapt::kernels {

template <ForwardConfig C>
struct HopperForward {
  using Shape = HopperShape<C>;
  static constexpr int kThreads = Shape::kThreads;

  static __device__ void run(const HopperParams& params) {
    extern __shared__ __align__(1024) unsigned char bytes[];
    const HopperShared<C> shared(bytes);
    if (threadIdx.x == 0) shared.init();
    __syncthreads();
    const int warpgroup = __shfl_sync(~0u, threadIdx.x / 128, 0);
    if (warpgroup == 0) {
      ptx::fewer_registers<Shape::kMoverRegisters>();
      move(params, shared);
    } else {
      ptx::more_registers<Shape::kMathRegisters>();
      HopperMath<C>(params, shared, warpgroup - 1).run();
    }
  }

  static __device__ __forceinline__ void move(const HopperParams& params,
                                              const HopperShared<C>& shared) {
    switch (__shfl_sync(~0u, threadIdx.x / 32, 0)) {
      case 0:
        return HopperScheduler<C>{params, shared}.run();
      case 1:
        return KeyLoader<C>{{params, shared}}.run();
      case 2:
        return ValueLoader<C>{{params, shared}}.run();
      default:
        return QueryLoader<C>{{params, shared}}.run();
    }
  }
};

}  // namespace rapt::kernels
