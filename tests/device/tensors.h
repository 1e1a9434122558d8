// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tensors for the verbs that take no attention problem.
#pragma once
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <vector>

#include "rapt/rapt.h"

namespace rapt::kit {

// Tensors of zeros in memory that plays the device's.
class Tensors {
 public:
  rapt_tensor make(rapt_dtype dtype, std::initializer_list<std::int64_t> shape) {
    rapt_tensor t{};
    std::int64_t elements = 1;
    t.struct_size = sizeof t;
    t.dtype = dtype;
    t.device_kind = RAPT_CUDA;
    for (const std::int64_t extent : shape) t.shape[t.rank++] = extent;
    for (std::int32_t d = t.rank - 1; d >= 0; --d) {
      t.strides[d] = elements;
      elements *= t.shape[d];
    }
    memory_.emplace_back(static_cast<std::size_t>(elements) * rapt_dtype_bytes(dtype));
    t.data = memory_.back().data();
    return t;
  }

 private:
  std::vector<std::vector<std::byte>> memory_;
};

}  // namespace rapt::kit
