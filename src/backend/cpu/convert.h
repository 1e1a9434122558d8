// SPDX-License-Identifier: Apache-2.0 OR MIT
// Element types of the smaller verbs as FP32 and back, without instructions beyond the baseline.
// Rounding is to nearest even; a NaN stays a (quiet) NaN. Functions are static for the reason that
// band.h gives.
#pragma once
#include <bit>
#include <cstdint>

namespace rapt::cpu {

static inline float bf16_to_float(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

static inline std::uint16_t float_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if (value != value) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static inline float fp16_to_float(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000) << 16;
  const std::uint32_t magnitude = bits & 0x7FFF;
  if (magnitude >= 0x7C00) {  // infinity and NaN, made quiet
    const std::uint32_t quiet = magnitude > 0x7C00 ? 0x400000 : 0;
    return std::bit_cast<float>(sign | 0x7F800000 | magnitude << 13 | quiet);
  }
  const float value = magnitude < 0x400 ? static_cast<float>(magnitude) * 0x1p-24F
                                        : std::bit_cast<float>((magnitude << 13) + 0x38000000);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(value));
}

static inline std::uint16_t float_to_fp16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 16 & 0x8000;
  const std::uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) {
    return static_cast<std::uint16_t>(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
  }
  if (magnitude >= 0x477FF000) return static_cast<std::uint16_t>(sign | 0x7C00);  // rounds to 2^16
  if (magnitude < 0x38800000) {  // below 2^-14: the sum's last bit is worth 2^-24, a subnormal's
    const float sum = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(sum) - 0x3F000000));
  }
  const std::uint32_t rounded = magnitude - 0x38000000 + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<std::uint16_t>(sign | rounded >> 13);
}

// One element type each: what is stored, and how it is read and written as FP32.
struct Fp32 {
  using Stored = float;
  static float load(float value) { return value; }
  static float store(float value) { return value; }
};

struct Fp16 {
  using Stored = std::uint16_t;
  static float load(std::uint16_t bits) { return fp16_to_float(bits); }
  static std::uint16_t store(float value) { return float_to_fp16(value); }
};

struct Bf16 {
  using Stored = std::uint16_t;
  static float load(std::uint16_t bits) { return bf16_to_float(bits); }
  static std::uint16_t store(float value) { return float_to_bf16(value); }
};

}  // namespace rapt::cpu
