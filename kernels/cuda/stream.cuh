// SPDX-License-Identifier: Apache-2.0 OR MIT
// The memory ceiling: reads, or copies, as fast as a plain grid of 16-byte loads goes. Benchmarks
// measure their share against it.
#pragma once
#include "stream_config.h"

namespace rapt::kernels {

template <StreamConfig C>
struct Stream {
  using Index = unsigned long long;

  static __device__ void run(const StreamParams& p) {
    const auto* from = static_cast<const uint4*>(p.from);
    auto* to = static_cast<uint4*>(p.to);
    const Index stride = Index(gridDim.x) * C.threads;
    Index at = Index(blockIdx.x) * C.threads + threadIdx.x;
    unsigned all = ~0u;
    for (; at + (C.loads - 1) * stride < p.vectors; at += C.loads * stride) {
      uint4 loaded[C.loads];
#pragma unroll
      for (int i = 0; i < C.loads; ++i) loaded[i] = __ldg(from + at + i * stride);
#pragma unroll
      for (int i = 0; i < C.loads; ++i) use(loaded[i], to + at + i * stride, all);
    }
    for (; at < p.vectors; at += stride) use(__ldg(from + at), to + at, all);
    // Keeps the loads alive; callers fill their buffers with anything but ones.
    if (C.kind == StreamKind::read && all == ~0u) *to = make_uint4(all, all, all, all);
  }

  static __device__ void use(uint4 v, uint4* place, unsigned& all) {
    if (C.kind == StreamKind::copy) {
      *place = v;
    } else {
      all &= v.x & v.y & v.z & v.w;
    }
  }
};

}  // namespace rapt::kernels
