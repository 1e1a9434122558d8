// SPDX-License-Identifier: Apache-2.0 OR MIT
// Names, sizes and packed views: the parts of rapt.h that need no problem.
#include "rapt/rapt.h"

#include <cstddef>
#include <cstdint>

namespace {

struct DTypeRow {
  const char* name;
  std::size_t bytes;
};

constexpr DTypeRow kDTypes[] = {{"none", 0},     {"fp32", 4},     {"fp16", 2}, {"bf16", 2},
                                {"fp8_e4m3", 1}, {"fp8_e5m2", 1}, {"int8", 1}, {"int32", 4},
                                {"uint32", 4},   {"int64", 8}};

constexpr const char* kStatuses[] = {
    "ok", "invalid_argument", "unsupported", "out_of_memory", "device_error", "internal"};

DTypeRow row(rapt_dtype dtype) {
  const bool known = dtype >= RAPT_NONE && dtype <= RAPT_INT64;
  return known ? kDTypes[dtype] : DTypeRow{"unknown", 0};
}

// Strides by multiplication that may wrap: a view too large for 64 bits is refused where it is
// used.
std::int64_t wrapping_multiply(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) * static_cast<std::uint64_t>(b));
}

// A packed [batch, heads, len, dim] buffer with its dimensions named in rapt's order.
rapt_tensor swapped(rapt_tensor t, std::int32_t a, std::int32_t b) {
  const std::int64_t size = t.shape[a];
  const std::int64_t stride = t.strides[a];
  t.shape[a] = t.shape[b];
  t.strides[a] = t.strides[b];
  t.shape[b] = size;
  t.strides[b] = stride;
  return t;
}

}  // namespace

extern "C" {

std::int32_t rapt_version(void) {
  return 10000 * RAPT_VERSION_MAJOR + 100 * RAPT_VERSION_MINOR + RAPT_VERSION_PATCH;
}

const char* rapt_status_name(rapt_status status) {
  return status >= RAPT_OK && status <= RAPT_INTERNAL ? kStatuses[status] : "unknown";
}

std::size_t rapt_dtype_bytes(rapt_dtype dtype) { return row(dtype).bytes; }

const char* rapt_dtype_name(rapt_dtype dtype) { return row(dtype).name; }

rapt_tensor rapt_packed(void* data, rapt_dtype dtype, std::int32_t rank,
                        const std::int64_t* shape) {
  rapt_tensor t = {};
  t.struct_size = sizeof t;
  t.data = data;
  t.dtype = dtype;
  t.rank = rank;
  if (rank < 1 || rank > RAPT_MAX_RANK || shape == nullptr) return t;
  std::int64_t step = 1;
  for (std::int32_t d = rank - 1; d >= 0; --d) {
    t.shape[d] = shape[d];
    t.strides[d] = step;
    step = wrapping_multiply(step, shape[d]);
  }
  return t;
}

rapt_tensor rapt_view(void* data, rapt_dtype dtype, rapt_order order, std::int64_t batch,
                      std::int64_t len, std::int64_t heads, std::int64_t dim) {
  const std::int64_t bshd[] = {batch, len, heads, dim};
  const std::int64_t bhsd[] = {batch, heads, len, dim};
  switch (order) {
    case RAPT_BSHD:
      return rapt_packed(data, dtype, 4, bshd);
    case RAPT_BHSD:
      return swapped(rapt_packed(data, dtype, 4, bhsd), 1, 2);
    case RAPT_THD:
      return rapt_packed(data, dtype, 3, bshd + 1);
    case RAPT_HTD:
      return swapped(rapt_packed(data, dtype, 3, bhsd + 1), 0, 1);
    default:
      return rapt_packed(data, dtype, 0, nullptr);
  }
}

}  // extern "C"
