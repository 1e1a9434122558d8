// SPDX-License-Identifier: Apache-2.0 OR MIT
// What must hold for any one tensor, and for any two: sizes and strides that fit, contiguous
// innermost dimension, outputs that overlap neither themselves nor an input.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "rapt/rapt.h"
#include "status.h"

namespace rapt {

// Whether tensor data is there and may be read: plan, prepare and explain look at shapes only.
enum class Data { required, ignored };

// A tensor under the name that the caller knows it by.
struct Field {
  const char* name = "";
  const rapt_tensor* tensor = nullptr;
  std::int64_t index = -1;  // of an array of tensors: "out[2]"
  bool may_repeat = false;  // the innermost dimension may have stride 0
};

std::string label(const Field& field);

// A list without the heap, since a planned run must not allocate.
class FieldList {
 public:
  void add(const char* name, const rapt_tensor& tensor) { add({name, &tensor}); }
  void add(const Field& field) { fields_[size_++] = field; }
  [[nodiscard]] const Field* begin() const { return fields_.data(); }
  [[nodiscard]] const Field* end() const { return fields_.data() + size_; }

 private:
  std::array<Field, 32> fields_;
  std::size_t size_ = 0;
};

inline bool given(const rapt_tensor& tensor) { return tensor.dtype != RAPT_NONE; }

// The product, or false where it does not fit.
inline bool multiply(std::int64_t a, std::int64_t b, std::int64_t* product) {
  return !__builtin_mul_overflow(a, b, product);
}

// A stride that is safe to multiply with: a dimension of one element never steps.
inline std::int64_t stride(const rapt_tensor& tensor, std::int32_t dimension) {
  return tensor.shape[dimension] > 1 ? tensor.strides[dimension] : 0;
}

// Null means "not given" in a Problem, so a given tensor without data (it is empty, or only its
// shape matters) gets an address that nobody reads.
void* address(const rapt_tensor& tensor);

Status check_given(const Field& field);

// Everything that does not depend on the tensor's role. A tensor not given must be empty.
Status check_tensor(const Field& field, Data data);

// No element of an output may have two names.
Status check_output(const Field& field);

Status check_dtype(const Field& field, std::initializer_list<rapt_dtype> allowed);

// One dimension wanted; size -1 = any. `source` is who says so: "k: head_dim is 96, q has 128".
struct Dimension {
  const char* name;
  std::int64_t size = -1;
  const char* source = "";
};
Status check_shape(const Field& field, std::initializer_list<Dimension> dimensions);

// Shape and dtype of another tensor.
Status check_like(const Field& field, const Field& model);

// All on one device, the first one's.
Status check_device(std::span<const Field> fields);

// False only where it is proven that no byte belongs to both.
bool may_overlap(const rapt_tensor& a, const rapt_tensor& b);
Status check_apart(const Field& output, std::span<const Field> others);

// The very same elements in the same order.
bool same_view(const rapt_tensor& a, const rapt_tensor& b);

}  // namespace rapt
