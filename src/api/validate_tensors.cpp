// SPDX-License-Identifier: Apache-2.0 OR MIT
// Checks of single tensors and of pairs. Nothing here allocates unless it refuses.
#include "api/validate_tensors.h"

#include <algorithm>
#include <cstdint>

#include "api/say.h"

namespace rapt {
namespace {

Status refuse(const Field& field, const std::string& sentence) {
  return invalid(label(field) + ": " + sentence);
}

std::int64_t element_bytes(const rapt_tensor& t) {
  return static_cast<std::int64_t>(rapt_dtype_bytes(t.dtype));
}

bool empty(const rapt_tensor& t) {
  return std::any_of(t.shape, t.shape + t.rank, [](std::int64_t n) { return n == 0; });
}

// Bytes from the first element to the end of the last; false where they do not fit.
bool reach(const rapt_tensor& t, std::int64_t* bytes) {
  *bytes = 0;
  if (empty(t)) return true;
  std::int64_t last = 0;
  for (std::int32_t d = 0; d < t.rank; ++d) {
    std::int64_t step = 0;
    if (!multiply(t.shape[d] - 1, stride(t, d), &step)) return false;
    if (__builtin_add_overflow(last, step, &last)) return false;
  }
  return !__builtin_add_overflow(last, 1, &last) && multiply(last, element_bytes(t), bytes);
}

Status check_kind(const Field& f) {
  const rapt_tensor& t = *f.tensor;
  if (t.struct_size != sizeof t) {
    return refuse(f, say("struct_size is ", t.struct_size, "; must be ", sizeof t));
  }
  if (rapt_dtype_bytes(t.dtype) == 0) {
    return refuse(f, say("dtype is ", t.dtype, "; must be one of rapt_dtype"));
  }
  if (t.rank < 1 || t.rank > RAPT_MAX_RANK) {
    return refuse(f, say("rank is ", t.rank, "; must be 1 to ", RAPT_MAX_RANK));
  }
  if (t.device_kind < RAPT_CPU || t.device_kind > RAPT_METAL) {
    return refuse(f, say("device_kind is ", t.device_kind, "; must be one of rapt_device_kind"));
  }
  if (t.device_index < 0) {
    return refuse(f, say("device_index is ", t.device_index, "; must be 0 or more"));
  }
  return {};
}

Status check_sizes(const Field& f) {
  const rapt_tensor& t = *f.tensor;
  std::int64_t bytes = element_bytes(t);
  bool fits = true;
  for (std::int32_t d = 0; d < t.rank; ++d) {
    if (t.shape[d] < 0) {
      return refuse(f, say("shape[", d, "] is ", t.shape[d], "; must be 0 or more"));
    }
    fits = fits && multiply(bytes, std::max<std::int64_t>(t.shape[d], 1), &bytes);
  }
  return fits ? Status{} : refuse(f, "its sizes overflow 64 bits");
}

Status check_strides(const Field& f) {
  const rapt_tensor& t = *f.tensor;
  for (std::int32_t d = 0; d < t.rank; ++d) {
    if (t.strides[d] >= 0) continue;
    return refuse(f, say("strides[", d, "] is ", t.strides[d], "; must be 0 or more"));
  }
  const std::int32_t last = t.rank - 1;
  const std::int64_t step = t.strides[last];
  const bool repeats = f.may_repeat && step == 0;
  if (t.shape[last] > 1 && step != 1 && !repeats) {
    return refuse(
        f, say("strides[", last, "] is ", step, "; the innermost dimension must be contiguous, 1"));
  }
  std::int64_t bytes = 0;
  return reach(t, &bytes) ? Status{} : refuse(f, "its strides overflow 64 bits");
}

Status check_data(const Field& f) {
  const rapt_tensor& t = *f.tensor;
  if (empty(t)) return {};
  if (t.data == nullptr) return refuse(f, "data is null, and the view has elements");
  const auto address = reinterpret_cast<std::uintptr_t>(t.data);
  const auto size = static_cast<std::uintptr_t>(element_bytes(t));
  if (address % size != 0) {
    return refuse(f, say("data is not aligned to its elements of ", size, " bytes"));
  }
  std::int64_t bytes = 0;
  if (!reach(t, &bytes) || UINTPTR_MAX - address < static_cast<std::uintptr_t>(bytes)) {
    return refuse(f, "its strides reach beyond the end of memory");
  }
  return {};
}

// Width in bytes of what a view covers in every period, if all its longer steps are whole periods.
bool width_in_period(const rapt_tensor& t, std::int64_t period, std::int64_t* width) {
  *width = element_bytes(t);
  for (std::int32_t d = 0; d < t.rank; ++d) {
    const std::int64_t step = stride(t, d) * element_bytes(t);
    if (step % period == 0) continue;
    if (step > period) return false;
    *width += (t.shape[d] - 1) * step;
  }
  return *width <= period;
}

std::int64_t phase(const rapt_tensor& t, std::int64_t period) {
  return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(t.data) %
                                   static_cast<std::uintptr_t>(period));
}

// Two views of one buffer that take turns, K and V of a packed projection, say.
bool interleaved(const rapt_tensor& a, const rapt_tensor& b, std::int64_t period) {
  std::int64_t width_a = 0;
  std::int64_t width_b = 0;
  if (period <= 0 || !width_in_period(a, period, &width_a)) return false;
  if (!width_in_period(b, period, &width_b)) return false;
  const std::int64_t ahead = (phase(b, period) - phase(a, period) + period) % period;
  return ahead >= width_a && ahead + width_b <= period;
}

bool interleaved_by_own_stride(const rapt_tensor& a, const rapt_tensor& b) {
  return std::any_of(a.strides, a.strides + a.rank, [&](std::int64_t step) {
    std::int64_t period = 0;
    return multiply(step, element_bytes(a), &period) && interleaved(a, b, period);
  });
}

}  // namespace

std::string label(const Field& field) {
  if (field.index < 0) return field.name;
  return say(field.name, "[", field.index, "]");
}

void* address(const rapt_tensor& tensor) {
  alignas(64) static unsigned char nowhere[64];
  return tensor.data != nullptr ? tensor.data : nowhere;
}

Status check_given(const Field& field) {
  return given(*field.tensor) ? Status{} : refuse(field, "is not given");
}

Status check_tensor(const Field& f, Data data) {
  const rapt_tensor& t = *f.tensor;
  if (!given(t)) {
    if (t.data == nullptr && t.rank == 0) return {};
    return refuse(f, "has data or a rank, but no dtype");
  }
  RAPT_RETURN_IF_ERROR(check_kind(f));
  RAPT_RETURN_IF_ERROR(check_sizes(f));
  RAPT_RETURN_IF_ERROR(check_strides(f));
  return data == Data::required ? check_data(f) : Status{};
}

Status check_output(const Field& f) {
  const rapt_tensor& t = *f.tensor;
  if (!given(t) || empty(t)) return {};
  std::array<std::int32_t, RAPT_MAX_RANK> order = {0, 1, 2, 3, 4};
  std::sort(order.begin(), order.begin() + t.rank,
            [&](std::int32_t a, std::int32_t b) { return t.strides[a] < t.strides[b]; });
  std::int64_t covered = 1;  // elements from the first to the end of the last, dimensions so far
  for (std::int32_t i = 0; i < t.rank; ++i) {
    const std::int32_t d = order[static_cast<std::size_t>(i)];
    if (t.shape[d] <= 1) continue;
    if (t.strides[d] < covered) {
      return refuse(f, say("strides[", d, "] is ", t.strides[d],
                           ", so its elements overlap; an output must have each once"));
    }
    covered += (t.shape[d] - 1) * t.strides[d];
  }
  return {};
}

Status check_dtype(const Field& field, std::initializer_list<rapt_dtype> allowed) {
  const rapt_dtype dtype = field.tensor->dtype;
  std::string names;
  for (const rapt_dtype& candidate : allowed) {
    if (candidate == dtype) return {};
    const bool last = &candidate == allowed.end() - 1;
    if (!names.empty()) names += last ? " or " : ", ";
    names += rapt_dtype_name(candidate);
  }
  return refuse(field, say("dtype is ", rapt_dtype_name(dtype), "; must be ", names));
}

Status check_shape(const Field& f, std::initializer_list<Dimension> dimensions) {
  const rapt_tensor& t = *f.tensor;
  if (static_cast<std::size_t>(t.rank) != dimensions.size()) {
    std::string names;
    for (const Dimension& d : dimensions)
      names += (names.empty() ? "" : ", ") + std::string(d.name);
    return refuse(f, say("rank is ", t.rank, "; must be ", dimensions.size(), ", [", names, "]"));
  }
  const std::int64_t* size = t.shape;
  for (const Dimension& d : dimensions) {
    if (d.size >= 0 && *size != d.size) {
      return refuse(f, say(d.name, " is ", *size, ", ", d.source, " has ", d.size));
    }
    ++size;
  }
  return {};
}

Status check_like(const Field& field, const Field& model) {
  const rapt_tensor& t = *field.tensor;
  const rapt_tensor& m = *model.tensor;
  RAPT_RETURN_IF_ERROR(check_dtype(field, {m.dtype}));
  if (t.rank != m.rank)
    return refuse(field, say("rank is ", t.rank, ", ", label(model), " has ", m.rank));
  for (std::int32_t d = 0; d < t.rank; ++d) {
    if (t.shape[d] == m.shape[d]) continue;
    return refuse(field,
                  say("shape[", d, "] is ", t.shape[d], ", ", label(model), " has ", m.shape[d]));
  }
  return {};
}

Status check_device(std::span<const Field> fields) {
  const Field* first = nullptr;
  for (const Field& f : fields) {
    const rapt_tensor& t = *f.tensor;
    if (!given(t)) continue;
    if (first == nullptr) first = &f;
    const rapt_tensor& wanted = *first->tensor;
    if (t.device_kind == wanted.device_kind && t.device_index == wanted.device_index) continue;
    return refuse(f, say("is on device ", t.device_kind, ":", t.device_index, ", ", label(*first),
                         " on ", wanted.device_kind, ":", wanted.device_index));
  }
  return {};
}

bool may_overlap(const rapt_tensor& a, const rapt_tensor& b) {
  if (empty(a) || empty(b)) return false;
  const auto start_a = reinterpret_cast<std::uintptr_t>(a.data);
  const auto start_b = reinterpret_cast<std::uintptr_t>(b.data);
  std::int64_t bytes_a = 0;
  std::int64_t bytes_b = 0;
  if (!reach(a, &bytes_a) || !reach(b, &bytes_b)) return true;
  if (start_a + static_cast<std::uintptr_t>(bytes_a) <= start_b) return false;
  if (start_b + static_cast<std::uintptr_t>(bytes_b) <= start_a) return false;
  return !interleaved_by_own_stride(a, b) && !interleaved_by_own_stride(b, a);
}

Status check_apart(const Field& output, std::span<const Field> others) {
  if (!given(*output.tensor)) return {};
  for (const Field& other : others) {
    if (other.tensor == output.tensor || !given(*other.tensor)) continue;
    if (may_overlap(*output.tensor, *other.tensor)) {
      return refuse(output, say("overlaps ", label(other), " in memory"));
    }
  }
  return {};
}

bool same_view(const rapt_tensor& a, const rapt_tensor& b) {
  if (a.data != b.data || a.dtype != b.dtype || a.rank != b.rank) return false;
  for (std::int32_t d = 0; d < a.rank; ++d) {
    if (a.shape[d] != b.shape[d] || stride(a, d) != stride(b, d)) return false;
  }
  return true;
}

}  // namespace rapt
