// SPDX-License-Identifier: Apache-2.0 OR MIT
// Conversions between FP32 and the 16-bit types, every value of them.
#include "backend/cpu/convert.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace rapt::cpu {
namespace {

// What both 16-bit types must keep: widening and narrowing again gives the same bits (a NaN made
// quiet), and between two neighbours the nearer one is taken, at the middle the even one.
template <class Element>
void expect_exact_and_nearest(std::uint16_t infinity, std::uint16_t quiet) {
  for (std::uint32_t bits = 0; bits <= UINT16_MAX; ++bits) {
    const auto stored = static_cast<std::uint16_t>(bits);
    const float value = Element::load(stored);
    const bool nan = (stored & 0x7FFF) > infinity;
    ASSERT_EQ(std::isnan(value), nan) << bits;
    ASSERT_EQ(Element::store(value), nan ? stored | quiet : stored) << bits;
  }
  for (std::uint16_t low = 0; low + 1 < infinity; ++low) {
    const float next = Element::load(static_cast<std::uint16_t>(low + 1));
    const float middle = Element::load(low) / 2 + next / 2;
    const auto even = static_cast<std::uint16_t>(low + (low & 1));
    ASSERT_EQ(Element::store(middle), even) << low;
    ASSERT_EQ(Element::store(-middle), even | 0x8000) << low;
    ASSERT_EQ(Element::store(std::nextafter(middle, 0.0F)), low);
    ASSERT_EQ(Element::store(std::nextafter(middle, std::numeric_limits<float>::infinity())),
              low + 1);
  }
}

TEST(Convert, Fp16IsExactAndRoundsToNearestEven) {
  expect_exact_and_nearest<Fp16>(0x7C00, 0x200);
  EXPECT_EQ(fp16_to_float(0x3C00), 1.0F);
  EXPECT_EQ(fp16_to_float(0x0001), 0x1p-24F);
  EXPECT_EQ(fp16_to_float(0x7BFF), 65504.0F);
  EXPECT_EQ(float_to_fp16(65519.99F), 0x7BFF);
  EXPECT_EQ(float_to_fp16(65520.0F), 0x7C00);
  EXPECT_EQ(float_to_fp16(-1e30F), 0xFC00);
  EXPECT_EQ(float_to_fp16(1e-30F), 0);
}

TEST(Convert, Bf16IsExactAndRoundsToNearestEven) {
  expect_exact_and_nearest<Bf16>(0x7F80, 0x40);
  EXPECT_EQ(bf16_to_float(0x3F80), 1.0F);
  EXPECT_EQ(float_to_bf16(std::numeric_limits<float>::max()), 0x7F80);
}

TEST(Convert, NanWithLowBitsAloneStaysNan) {
  const float nan = std::bit_cast<float>(0xFF800001U);
  EXPECT_EQ(float_to_bf16(nan), 0xFFC0);
  EXPECT_EQ(float_to_fp16(nan), 0xFE00);
}

}  // namespace
}  // namespace rapt::cpu
