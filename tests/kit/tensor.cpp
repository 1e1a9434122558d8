// SPDX-License-Identifier: Apache-2.0 OR MIT
// Memory of tensors and the watch over what lies between their elements.
#include "kit/tensor.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <utility>

namespace rapt::kit {

rapt_tensor make_view(rapt_dtype dtype, const Sizes& shape, const Sizes& order, std::int64_t gap) {
  rapt_tensor view{};
  view.struct_size = sizeof view;
  view.dtype = dtype;
  view.rank = static_cast<std::int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), view.shape);
  std::int64_t stride = 1;
  for (std::size_t n = shape.size(); n-- > 0;) {
    view.strides[order[n]] = stride;
    stride = stride * view.shape[order[n]] + gap;
  }
  return view;
}

Sizes natural(std::size_t rank) {
  Sizes order(rank);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

static std::int64_t elements_spanned(const rapt_tensor& view) {
  std::int64_t last = 0;
  for (std::int32_t d = 0; d < view.rank; ++d) {
    if (view.shape[d] == 0) return 0;
    last += (view.shape[d] - 1) * view.strides[d];
  }
  return last + 1;
}

void Tensor::allocate(std::int64_t skip) {
  const std::int64_t width = dtype_bytes(view.dtype);
  const auto wanted = static_cast<std::size_t>((elements_spanned(view) + skip) * width);
  bytes.resize(wanted + 64);
  void* start = bytes.data();
  std::size_t room = bytes.size();
  std::align(64, wanted, start, room);
  view.data = static_cast<std::byte*>(start) + skip * width;
  poison();
}

void Tensor::poison() {
  if (!bytes.empty()) std::memset(bytes.data(), 0xff, bytes.size());
}

Sizes row_offsets(const rapt_tensor& view) {
  Sizes offsets{0};
  for (std::int32_t d = 0; d + 1 < view.rank; ++d) {
    Sizes finer;
    for (const std::int64_t offset : offsets) {
      for (std::int64_t n = 0; n < view.shape[d]; ++n) {
        finer.push_back(offset + n * view.strides[d]);
      }
    }
    offsets = std::move(finer);
  }
  return offsets;
}

bool gaps_are_poison(const Tensor& t) {
  if (t.bytes.empty()) return true;
  const auto width = static_cast<std::size_t>(dtype_bytes(t.view.dtype));
  const auto row = static_cast<std::size_t>(t.view.shape[t.view.rank - 1]) * width;
  const auto front =
      static_cast<std::size_t>(static_cast<std::byte*>(t.view.data) - t.bytes.data());
  Bytes gaps = t.bytes;
  for (const std::int64_t offset : row_offsets(t.view)) {
    std::memset(gaps.data() + front + static_cast<std::size_t>(offset) * width, 0xff, row);
  }
  return std::all_of(gaps.begin(), gaps.end(), [](std::byte b) { return b == std::byte{0xff}; });
}

}  // namespace rapt::kit
