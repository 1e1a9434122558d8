// SPDX-License-Identifier: Apache-2.0 OR MIT
// Where the rows of K or V of one (sequence, kv head) lie: dense, ragged and paged caches look
// alike behind it, so layouts do not multiply kernels. Page ids are clamped.
#pragma once
#include "../forward_config.h"
#include "sequence.cuh"

namespace rapt::kernels {

template <ForwardConfig C>
struct KvSide {
  using Bits = typename Number<C.element>::Bits;

  const Bits* base;  // the head's row of token 0, or of slot 0 of page 0
  i64 token_stride;
  i64 page_stride;
  i64 dim_stride;
  int x;    // dimensions in a contiguous group
  int dim;  // true size of a row

  // Row of a key; where the head dimension is strided, its first element.
  __device__ __forceinline__ const Bits* row(const ForwardParams& p, const Sequence& s,
                                             int key) const {
    if constexpr (C.kv == KvKind::rows) {
      return base + key * token_stride;
    } else {
      const i64 page = clamp(s.pages[key >> p.page_shift], 0, p.pages - 1);
      return base + page * page_stride + (key & ((1 << p.page_shift) - 1)) * token_stride;
    }
  }

  // Element `d` of a row.
  __device__ __forceinline__ Bits element(const Bits* row, int d) const {
    if constexpr (C.kv == KvKind::turned) {
      return row[d / x * dim_stride + d % x];
    } else {
      return row[d];
    }
  }
};

template <ForwardConfig C>
__device__ __forceinline__ KvSide<C> make_side(const RowsParam& rows, const PagesParam& pages,
                                               const Sequence& s, int kv_head, int dim) {
  using Bits = typename Number<C.element>::Bits;
  if constexpr (C.kv == KvKind::rows) {
    const i64 at = s.kv_batch * rows.batch_stride + s.kv_token * rows.token_stride +
                   kv_head * rows.head_stride;
    return {static_cast<const Bits*>(rows.data) + at, rows.token_stride, 0, 1, 1, dim};
  } else {
    return {static_cast<const Bits*>(pages.data) + kv_head * pages.head_stride,
            pages.token_stride,
            pages.page_stride,
            pages.dim_stride,
            static_cast<int>(pages.x),
            dim};
  }
}

}  // namespace rapt::kernels
