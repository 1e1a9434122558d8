// SPDX-License-Identifier: Apache-2.0 OR MIT
// Integers that a caller lent in device memory.
#pragma once
#include "../view_params.h"
#include "types.cuh"

namespace rapt::kernels {

__device__ __forceinline__ i64 read_index(const IndexParam& p, i64 i) {
  if (p.kind == IndexKind::int64) return static_cast<const i64*>(p.data)[i * p.stride];
  if (p.kind == IndexKind::uint32) return static_cast<const u32*>(p.data)[i * p.stride];
  return static_cast<const int*>(p.data)[i * p.stride];
}

__device__ __forceinline__ i64 index_or(const IndexParam& p, i64 i, i64 otherwise) {
  return p.kind == IndexKind::none ? otherwise : read_index(p, i);
}

}  // namespace rapt::kernels
