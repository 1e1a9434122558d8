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

// Three tokens into two caches of four pages.
inline rapt_append_args append_args(Tensors& tensors) {
  rapt_append_args args{};
  args.struct_size = sizeof args;
  args.k = tensors.make(RAPT_BF16, {3, 2, 64});
  args.v = tensors.make(RAPT_BF16, {3, 2, 64});
  args.k_cache = tensors.make(RAPT_BF16, {4, 16, 2, 64});
  args.v_cache = tensors.make(RAPT_BF16, {4, 16, 2, 64});
  args.slots = tensors.make(RAPT_INT64, {3});
  args.page_size = 16;
  return args;
}

struct MergeOfTwo {
  explicit MergeOfTwo(Tensors& tensors)
      : out{tensors.make(RAPT_BF16, {2, 3, 4, 64}), tensors.make(RAPT_BF16, {2, 3, 4, 64})},
        lse{tensors.make(RAPT_FP32, {2, 4, 3}), tensors.make(RAPT_FP32, {2, 4, 3})} {
    args.struct_size = sizeof args;
    args.count = 2;
    args.out = out;
    args.lse = lse;
    args.merged_out = tensors.make(RAPT_BF16, {2, 3, 4, 64});
  }

  rapt_tensor out[2], lse[2];
  rapt_merge_args args{};
};

}  // namespace rapt::kit
