// SPDX-License-Identifier: Apache-2.0 OR MIT
// The normalised tensors as kernels take them, and what their addresses allow.
#pragma once
#include <cstdint>
#include <initializer_list>

#include "kernels/cuda/element.h"
#include "kernels/cuda/view_params.h"
#include "problem.h"

namespace rapt::cuda {

inline kernels::Element element_of(DType dtype) {
  if (dtype == DType::fp32) return kernels::Element::fp32;
  return dtype == DType::fp16 ? kernels::Element::fp16 : kernels::Element::bf16;
}

inline std::int64_t bytes_of(DType dtype) {
  return static_cast<std::int64_t>(rapt_dtype_bytes(static_cast<rapt_dtype>(dtype)));
}

// Whether data and every step from it, in elements of `bytes`, lie on whole accesses.
inline bool on_boundary(std::uintptr_t boundary, const void* data, std::int64_t bytes,
                        std::initializer_list<std::int64_t> strides) {
  auto bits = reinterpret_cast<std::uintptr_t>(data);
  for (const std::int64_t stride : strides) {
    bits |= static_cast<std::uintptr_t>(stride) * static_cast<std::uintptr_t>(bytes);
  }
  return bits % boundary == 0;
}

inline bool aligned(const Rows& r, DType dtype) {
  return on_boundary(16, r.data, bytes_of(dtype), {r.batch_stride, r.token_stride, r.head_stride});
}

inline bool aligned(const PagedRows& r, DType dtype) {
  return on_boundary(16, r.data, bytes_of(dtype), {r.page_stride, r.token_stride, r.head_stride});
}

// Whether K and V stand in pages whose rows are not contiguous.
inline bool turned(const Problem& p) {
  return p.page_size > 0 && p.page_layout >= RAPT_HEAD_DIM_PAGE;
}

inline kernels::RowsParam param(const Rows& r) {
  return {r.data, r.batch_stride, r.token_stride, r.head_stride};
}

inline kernels::PagesParam param(const PagedRows& r) {
  return {r.data, r.page_stride, r.token_stride, r.head_stride, r.dim_stride, r.x};
}

inline kernels::IndexParam param(const Indices& i) {
  using kernels::IndexKind;
  if (i.data == nullptr) return {nullptr, 0, IndexKind::none, 0};
  const IndexKind kind = i.dtype == DType::int64    ? IndexKind::int64
                         : i.dtype == DType::uint32 ? IndexKind::uint32
                                                    : IndexKind::int32;
  return {i.data, i.stride, kind, 0};
}

}  // namespace rapt::cuda
