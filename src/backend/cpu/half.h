// SPDX-License-Identifier: Apache-2.0 OR MIT
// FP16 by integer arithmetic, for machines without an instruction for it.
#pragma once
#include <cstdint>

namespace rapt::cpu {
namespace {

inline float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = std::uint32_t(half & 0x8000u) << 16;
  const std::uint32_t magnitude = half & 0x7fffu;
  // Below the normals (and zero) the value is magnitude * 2^-24 exactly.
  if (magnitude < 0x400u) {
    const float value = float(magnitude) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t exponent = magnitude >= 0x7c00u ? 0x70000000u : 0x38000000u;
  return __builtin_bit_cast(float, sign | ((magnitude << 13) + exponent));
}

inline std::uint16_t float_to_half(float value) {
  const std::uint32_t bits = __builtin_bit_cast(std::uint32_t, value);
  const std::uint32_t sign = (bits >> 16) & 0x8000u;
  const std::uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return std::uint16_t(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return std::uint16_t(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Adding 0.5 leaves the rounded multiple of 2^-24 in the low bits of the sum.
    const float sum = __builtin_bit_cast(float, magnitude) + 0.5f;
    return std::uint16_t(sign | (__builtin_bit_cast(std::uint32_t, sum) - 0x3f000000u));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u;
  return std::uint16_t(sign | (rounded >> 13));
}

}  // namespace
}  // namespace rapt::cpu
