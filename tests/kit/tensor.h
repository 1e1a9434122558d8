// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tensor that owns its memory, poisoned: all ones bits, which is NaN in every floating-point
// type.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kit/large_pages.h"
#include "kit/numbers.h"
#include "rapt/rapt.h"

namespace rapt::kit {

using Sizes = std::vector<std::int64_t>;
using Bytes = std::vector<std::byte, LargePages<std::byte>>;

struct Tensor {
  rapt_tensor view{};
  Bytes bytes;

  // Memory for the view, 64-byte aligned but for `skip` elements in front.
  void allocate(std::int64_t skip);
  void poison();
  void set(std::int64_t offset, double value) { store(view.data, view.dtype, offset, value); }
};

// A view, without memory yet, laid out in `order` (outermost dimension first) with `gap` elements
// after each dimension.
rapt_tensor make_view(rapt_dtype dtype, const Sizes& shape, const Sizes& order, std::int64_t gap);

// 0, 1, ... rank - 1
Sizes natural(std::size_t rank);

// True where no byte of the memory beside the view's elements has changed since poison().
bool gaps_are_poison(const Tensor& tensor);

// Where each innermost row of a view begins, in elements.
Sizes row_offsets(const rapt_tensor& view);

}  // namespace rapt::kit
