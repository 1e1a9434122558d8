// SPDX-License-Identifier: Apache-2.0 OR MIT
// Element types as template arguments of tests: random values, and how near is near enough.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include "backend/cpu/convert.h"
#include "problem.h"

namespace rapt::cpu {

using Elements = testing::Types<Fp32, Fp16, Bf16>;

template <class Element>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<Fp32>() {
  return DType::fp32;
}
template <>
constexpr DType dtype_of<Fp16>() {
  return DType::fp16;
}
template <>
constexpr DType dtype_of<Bf16>() {
  return DType::bf16;
}

template <class Element>
using Values = std::vector<typename Element::Stored>;

template <class Element>
Values<Element> random_values(std::int64_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.3F, 1.0F);
  Values<Element> values(static_cast<std::size_t>(count));
  for (auto& value : values) value = Element::store(normal(random));
  return values;
}

// Equal up to the roundings of FP32 arithmetic on values of about 1 and of the element type.
template <class Element>
void expect_near(typename Element::Stored got, double want) {
  const double ulp = std::is_same_v<Element, Fp32>   ? 0x1p-20
                     : std::is_same_v<Element, Fp16> ? 0x1p-10
                                                     : 0x1p-7;
  ASSERT_NEAR(Element::load(got), want, ulp * std::max(std::abs(want), 0.5));
}

}  // namespace rapt::cpu
