// SPDX-License-Identifier: Apache-2.0 OR MIT
// A caller who lends honest memory behind views, groups and indices of any kind: every view has
// exactly the bytes that its shape and strides reach, so AddressSanitizer sees any other access.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <vector>

#include "bytes.h"
#include "rapt/rapt.h"

namespace rapt::fuzz {

class Caller {
 public:
  explicit Caller(Bytes& bytes) : bytes_(bytes) {}

  // A packed view of the shape, or rarely something else. `values` fill its memory in turn.
  rapt_tensor tensor(rapt_dtype dtype, std::initializer_list<std::int64_t> shape);
  // The same, rarely not given at all.
  rapt_tensor maybe(rapt_dtype dtype, std::initializer_list<std::int64_t> shape);
  // Indices, each `mostly` of [low, high].
  rapt_tensor indices(rapt_dtype dtype, std::initializer_list<std::int64_t> shape, std::int64_t low,
                      std::int64_t high);
  // Offsets of a ragged batch that mostly end at `total`.
  rapt_tensor offsets(std::int64_t batch, std::int64_t total);

  // A zeroed struct that lives as long as the caller, mostly with its right size, and with zeros
  // behind it for a size that is larger.
  template <typename T>
  T* make() {
    T* made = new (allocate(sizeof(T) + kBehind)) T{};
    made->struct_size = sizeof(T);
    if (bytes_.rare()) made->struct_size = static_cast<std::size_t>(bytes_.range(0, kLargest));
    if (made->struct_size > sizeof(T) + kBehind) made->struct_size = sizeof(T) + kBehind;
    return made;
  }

  void* allocate(std::size_t bytes);

  // False once a view reached further than this caller can lend: then tensor data must not be
  // touched, which leaves the verbs that read shapes only.
  [[nodiscard]] bool lends_everything() const { return lends_everything_; }

 private:
  static constexpr std::size_t kBehind = 64;
  static constexpr std::int64_t kLargest = 255;

  void distort(rapt_tensor& view);
  void lend(rapt_tensor& view);

  Bytes& bytes_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;
  bool lends_everything_ = true;
};

// Options as a caller may give them; null half the time.
const rapt_options* options(Bytes& bytes, Caller& caller);

}  // namespace rapt::fuzz
