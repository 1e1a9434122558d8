// SPDX-License-Identifier: Apache-2.0 OR MIT
// Rows of FP32, FP16 and BF16 to FP32 and back, eight elements at a time (dims are multiples of 8).
#pragma once
#include <cstdint>

#include "backend/cpu/vec.h"
#include "problem.h"

namespace rapt::cpu {
namespace {

inline int element_bytes(DType dtype) { return dtype == DType::fp32 ? 4 : 2; }

inline float bf16_to_float(std::uint16_t x) {
  return __builtin_bit_cast(float, std::uint32_t(x) << 16);
}

inline std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return std::uint16_t((nan ? bits | 0x400000u : rounded) >> 16);
}

inline void widen_row(const void* from, DType dtype, int count, float* to) {
  const auto* bits = static_cast<const std::uint16_t*>(from);
  if (dtype == DType::fp32) {
    __builtin_memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
  } else if (dtype == DType::bf16) {
    for (int i = 0; i < count; ++i) to[i] = bf16_to_float(bits[i]);
  } else {
    for (int i = 0; i < count; i += 8) Simd::widen_half8(bits + i, to + i);
  }
}

inline void narrow_row(const float* from, int count, DType dtype, void* to) {
  auto* bits = static_cast<std::uint16_t*>(to);
  if (dtype == DType::fp32) {
    __builtin_memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
  } else if (dtype == DType::bf16) {
    for (int i = 0; i < count; ++i) bits[i] = float_to_bf16(from[i]);
  } else {
    for (int i = 0; i < count; i += 8) Simd::narrow_half8(from + i, bits + i);
  }
}

// One element, for ragged ends.
inline float widen_one(const void* from, DType dtype) {
  if (dtype == DType::fp32) return *static_cast<const float*>(from);
  const std::uint16_t bits = *static_cast<const std::uint16_t*>(from);
  if (dtype == DType::bf16) return bf16_to_float(bits);
  std::uint16_t half[8] = {bits};
  float wide[8];
  Simd::widen_half8(half, wide);
  return wide[0];
}

}  // namespace
}  // namespace rapt::cpu
