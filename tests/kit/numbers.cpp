// SPDX-License-Identifier: Apache-2.0 OR MIT
// Conversions by the bits of the formats, so that they share nothing with the code that is being
// tested.
#include "kit/numbers.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace rapt::kit {
namespace {

// Formats of up to five exponent bits.
struct Format {
  int exponent_bits;
  int mantissa_bits;
  bool finite_only = false;  // OCP E4M3: no infinities, all ones is the only NaN

  [[nodiscard]] constexpr int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  [[nodiscard]] constexpr std::uint32_t infinity() const {
    return ((1u << exponent_bits) - 1) << mantissa_bits;
  }
};

constexpr Format kFp16{5, 10};
constexpr Format kFp8E5M2{5, 2};
constexpr Format kFp8E4M3{4, 3, true};

float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

float decode(std::uint32_t bits, Format f) {
  const std::uint32_t magnitude = bits & ((2u << (f.exponent_bits + f.mantissa_bits - 1)) - 1);
  const float sign = bits >> (f.exponent_bits + f.mantissa_bits) ? -1.0f : 1.0f;
  const auto exponent = static_cast<int>(magnitude >> f.mantissa_bits);
  const std::uint32_t mantissa = magnitude & ((1u << f.mantissa_bits) - 1);
  if (f.finite_only ? magnitude == 0x7f : magnitude > f.infinity()) return NAN;
  if (!f.finite_only && magnitude == f.infinity()) return sign * INFINITY;
  const std::uint32_t digits = exponent ? (1u << f.mantissa_bits) | mantissa : mantissa;
  return sign * static_cast<float>(digits) *
         power_of_two(std::max(exponent, 1) - f.bias() - f.mantissa_bits);
}

std::uint32_t encode(float value, Format f) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 31) << (f.exponent_bits + f.mantissa_bits);
  const std::uint32_t not_finite = f.finite_only ? 0x7f : f.infinity();
  if (std::isnan(value)) return sign | not_finite | 1;
  if (std::fabs(value) >= power_of_two(f.bias() + 2)) return sign | not_finite;
  const int least = 1 - f.bias();
  const int exponent = std::max(static_cast<int>(bits >> 23 & 0xff) - 127, least);
  // Adding and taking away 1.5 * 2^(23 + n) rounds to a multiple of 2^n, ties to even.
  const volatile float big = 1.5f * power_of_two(exponent - f.mantissa_bits + 23);
  const volatile float sum = std::fabs(value) + big;
  const float rounded = sum - big;
  if (rounded < power_of_two(least)) {
    return sign | static_cast<std::uint32_t>(rounded * power_of_two(f.mantissa_bits - least));
  }
  const std::uint32_t code = (std::bit_cast<std::uint32_t>(rounded) >> (23 - f.mantissa_bits)) -
                             (static_cast<std::uint32_t>(127 - f.bias()) << f.mantissa_bits);
  return sign | std::min(code, not_finite);
}

std::uint16_t encode_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float decode_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

template <class T>
T read(const void* data, std::int64_t index) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * std::int64_t{sizeof(T)},
              sizeof value);
  return value;
}

template <class T>
void write(void* data, std::int64_t index, T value) {
  std::memcpy(static_cast<char*>(data) + index * std::int64_t{sizeof(T)}, &value, sizeof value);
}

}  // namespace

std::int64_t dtype_bytes(rapt_dtype dtype) {
  switch (dtype) {
    case RAPT_INT64:
      return 8;
    case RAPT_FP32:
    case RAPT_INT32:
    case RAPT_UINT32:
      return 4;
    case RAPT_FP16:
    case RAPT_BF16:
      return 2;
    case RAPT_NONE:
      return 0;
    default:
      return 1;
  }
}

double load(const void* data, rapt_dtype dtype, std::int64_t index) {
  switch (dtype) {
    case RAPT_FP32:
      return read<float>(data, index);
    case RAPT_FP16:
      return decode(read<std::uint16_t>(data, index), kFp16);
    case RAPT_BF16:
      return decode_bf16(read<std::uint16_t>(data, index));
    case RAPT_FP8_E4M3:
      return decode(read<std::uint8_t>(data, index), kFp8E4M3);
    case RAPT_FP8_E5M2:
      return decode(read<std::uint8_t>(data, index), kFp8E5M2);
    case RAPT_INT8:
      return read<std::int8_t>(data, index);
    case RAPT_INT32:
      return read<std::int32_t>(data, index);
    case RAPT_UINT32:
      return read<std::uint32_t>(data, index);
    case RAPT_INT64:
      return static_cast<double>(read<std::int64_t>(data, index));
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

void store(void* data, rapt_dtype dtype, std::int64_t index, double value) {
  const auto x = static_cast<float>(value);
  switch (dtype) {
    case RAPT_FP32:
      return write(data, index, x);
    case RAPT_FP16:
      return write(data, index, static_cast<std::uint16_t>(encode(x, kFp16)));
    case RAPT_BF16:
      return write(data, index, encode_bf16(x));
    case RAPT_FP8_E4M3:
      return write(data, index, static_cast<std::uint8_t>(encode(x, kFp8E4M3)));
    case RAPT_FP8_E5M2:
      return write(data, index, static_cast<std::uint8_t>(encode(x, kFp8E5M2)));
    case RAPT_INT8:
      return write(data, index, static_cast<std::int8_t>(value));
    case RAPT_INT32:
      return write(data, index, static_cast<std::int32_t>(value));
    case RAPT_UINT32:
      return write(data, index, static_cast<std::uint32_t>(value));
    case RAPT_INT64:
      return write(data, index, static_cast<std::int64_t>(value));
    default:
      return;
  }
}

float round_to(rapt_dtype dtype, float value) {
  if (dtype == RAPT_BF16) return decode_bf16(encode_bf16(value));
  if (dtype == RAPT_FP16) return decode(encode(value, kFp16), kFp16);
  return value;
}

double ulp(rapt_dtype dtype, double magnitude) {
  const int digits = dtype == RAPT_FP32 ? 23 : (dtype == RAPT_FP16 ? 10 : 7);
  const int least = dtype == RAPT_FP16 ? -14 : -126;
  if (magnitude == 0 || !std::isfinite(magnitude)) return std::ldexp(1, least - digits);
  return std::ldexp(1, std::max(std::ilogb(magnitude), least) - digits);
}

}  // namespace rapt::kit
