// SPDX-License-Identifier: Apache-2.0 OR MIT
// Views with honest memory; see caller.h.
#include "caller.h"

#include <algorithm>
#include <cstring>

namespace rapt::fuzz {
namespace {

// Larger problems would only slow the fuzzer down.
constexpr std::int64_t kMostElements = 1 << 13;

// Elements that a view reaches, counted from its first; -1: more than a caller here lends. A view
// that no verb may accept reaches nothing.
std::int64_t reach(const rapt_tensor& view) {
  __extension__ using Wide = __int128;
  if (view.rank < 1 || view.rank > RAPT_MAX_RANK) return 0;
  Wide last = 0, elements = 1;
  bool empty = false, absurd = false;
  for (std::int32_t d = 0; d < view.rank; ++d) {
    empty = empty || view.shape[d] == 0;
    absurd = absurd || view.shape[d] < 0 || view.strides[d] < 0;
    if (elements <= kMostElements) elements *= view.shape[d];
    last += Wide{view.shape[d] - (view.shape[d] > 0)} * view.strides[d];
  }
  if (absurd) return 0;
  if (elements > kMostElements || last >= kMostElements) return -1;
  return empty ? 0 : static_cast<std::int64_t>(last) + 1;
}

}  // namespace

void* Caller::allocate(std::size_t bytes) {
  memory_.push_back(std::make_unique<std::byte[]>(bytes));
  return memory_.back().get();
}

// Replaces one field of a view.
void Caller::distort(rapt_tensor& view) {
  const auto dimension = static_cast<std::size_t>(bytes_.range(0, RAPT_MAX_RANK - 1));
  switch (bytes_.range(0, 7)) {
    case 0:
      view.shape[dimension] = bytes_.hostile();
      break;
    case 1:
      view.strides[dimension] = bytes_.hostile();
      break;
    case 2:
      view.rank = static_cast<std::int32_t>(bytes_.hostile());
      break;
    case 3:
      view.dtype = static_cast<rapt_dtype>(bytes_.range(0, 12));
      break;
    case 4:
      view.struct_size = static_cast<std::size_t>(bytes_.range(0, kLargest));
      break;
    case 5:
      view.device_kind = static_cast<rapt_device_kind>(bytes_.range(0, 4));
      break;
    case 6:
      view.device_index = static_cast<std::int32_t>(bytes_.hostile());
      break;
    default:
      std::swap(view.strides[0], view.strides[dimension]);
      break;
  }
}

// Memory of exactly the view's reach, with a pattern in it that makes finite numbers, and rarely
// NaN or Inf.
void Caller::lend(rapt_tensor& view) {
  const std::int64_t elements = reach(view);
  lends_everything_ = lends_everything_ && elements >= 0;
  const std::size_t width = std::max<std::size_t>(rapt_dtype_bytes(view.dtype), 1);
  const std::size_t size = static_cast<std::size_t>(std::max<std::int64_t>(elements, 0)) * width;
  view.data = allocate(size);
  std::memset(view.data, bytes_.rare() ? 0xff : 0x3c, size);
}

rapt_tensor Caller::tensor(rapt_dtype dtype, std::initializer_list<std::int64_t> shape) {
  rapt_tensor view =
      rapt_packed(nullptr, dtype, static_cast<std::int32_t>(shape.size()), shape.begin());
  if (bytes_.rare()) view.strides[0] += 8;
  if (bytes_.rare()) distort(view);
  lend(view);
  if (bytes_.rare() && bytes_.rare()) view.data = nullptr;
  return view;
}

rapt_tensor Caller::maybe(rapt_dtype dtype, std::initializer_list<std::int64_t> shape) {
  return bytes_.flag() ? tensor(dtype, shape) : rapt_tensor{};
}

rapt_tensor Caller::indices(rapt_dtype dtype, std::initializer_list<std::int64_t> shape,
                            std::int64_t low, std::int64_t high) {
  rapt_tensor view = tensor(dtype, shape);
  const std::size_t width = rapt_dtype_bytes(view.dtype);
  const std::int64_t elements = std::max<std::int64_t>(reach(view), 0);
  for (std::int64_t i = 0; i < elements && view.data != nullptr; ++i) {
    const std::int64_t index = bytes_.mostly(high < low ? low : bytes_.range(low, high));
    std::memcpy(static_cast<std::byte*>(view.data) + static_cast<std::size_t>(i) * width, &index,
                std::min(width, sizeof index));
  }
  return view;
}

rapt_tensor Caller::offsets(std::int64_t batch, std::int64_t total) {
  rapt_tensor view = tensor(bytes_.flag() ? RAPT_INT32 : RAPT_UINT32, {batch + 1});
  const std::int64_t elements = std::max<std::int64_t>(reach(view), 0);
  if (view.data == nullptr || rapt_dtype_bytes(view.dtype) != sizeof(std::int32_t)) return view;
  auto* values = static_cast<std::int32_t*>(view.data);
  for (std::int64_t b = 0; b < elements; ++b) {
    values[b] = static_cast<std::int32_t>(bytes_.mostly(b < batch ? b * total / batch : total));
  }
  return view;
}

const rapt_options* options(Bytes& bytes, Caller& caller) {
  if (bytes.flag()) return nullptr;
  static constexpr const char* kBackends[] = {nullptr, "auto", "cpu", "cuda", "", "nobody"};
  static constexpr const char* kKernels[] = {nullptr, nullptr, "cpu/avx2_backward",
                                             "cpu/avx2_forward", "cpu/"};
  auto* made = caller.make<rapt_options>();
  made->backend = kBackends[bytes.range(0, 5)];
  made->kernel = kKernels[bytes.range(0, 4)];
  made->threads = static_cast<std::int32_t>(bytes.mostly(bytes.range(0, 3)));
  return made;
}

}  // namespace rapt::fuzz
