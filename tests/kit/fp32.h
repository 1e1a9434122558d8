// SPDX-License-Identifier: Apache-2.0 OR MIT
// The yardsticks' arithmetic in FP32, and the noise of their draws.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "kit/random.h"

namespace rapt::kit {

inline float narrow(double x) { return static_cast<float>(x); }

// sums[n] = a * b[n] + sums[n], rounded once.
void add_product(float a, const float* b, float* sums, std::int64_t count);

// What a draw adds to a number that was just rounded: nothing, or up to half an ulp either way.
class Noise {
 public:
  Noise(std::int64_t row, int draw)
      : random_(static_cast<std::uint64_t>(row), static_cast<std::uint64_t>(draw)), draw_(draw) {}

  [[nodiscard]] int draw() const { return draw_; }

  void disturb(std::span<float> numbers) {
    if (draw_ == 0) return;
    for (float& x : numbers) x = (*this)(x);
  }

  float operator()(float x) {
    if (draw_ == 0) return x;
    const double part = static_cast<double>(static_cast<std::int64_t>(random_.bits())) * 0x1p-63;
    return narrow(x * (1 + part * 0x1p-24));
  }

 private:
  Random random_;
  int draw_;
};

}  // namespace rapt::kit
