// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tensors and vectors of integers as kernels take them. Read by the host's compiler and by NVRTC.
// Strides are in elements.
#pragma once

namespace rapt::kernels {

// Element (batch, token, head, 0) of q, k, v, out or lse; ragged tensors have batch stride 0.
struct RowsParam {
  void* data;
  long long batch_stride;
  long long token_stride;
  long long head_stride;
};

// A cache in pages. Contiguous rows: dim_stride is 1. Else tokens are the contiguous dimension and
// dim_stride steps a group of x dimensions, which are contiguous among themselves.
struct PagesParam {
  void* data;
  long long page_stride;
  long long token_stride;
  long long head_stride;
  long long dim_stride;
  long long x;
};

enum class IndexKind : int { none = 0, int32 = 1, uint32 = 2, int64 = 3 };

// A vector of integers in device memory.
struct IndexParam {
  const void* data;
  long long stride;
  IndexKind kind;
  int reserved;
};

}  // namespace rapt::kernels
