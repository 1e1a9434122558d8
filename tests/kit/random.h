// SPDX-License-Identifier: Apache-2.0 OR MIT
// The kit's random numbers (splitmix64, Steele et al., 2014): the same on every machine and
// compiler, which the standard library's distributions are not.
#pragma once
#include <cstdint>

namespace rapt::kit {

class Random {
 public:
  // Streams of one seed are independent, so that a new user of random numbers moves no old one.
  Random(std::uint64_t seed, std::uint64_t stream) : state_(seed * 0x9e3779b97f4a7c15u) {
    state_ = bits() ^ (stream * 0xd1342543de82ef95u);
    bits();
  }

  std::uint64_t bits() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  // An integer of [low, high].
  std::int64_t integer(std::int64_t low, std::int64_t high) {
    return low + static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(high - low + 1));
  }

  // A number of [0, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }

  bool chance(double probability) { return uniform() < probability; }

  // Mean 0, deviation 1, as the sum of four uniform numbers: one draw an element, none beyond 3.5.
  double normal() {
    const std::uint64_t b = bits();
    const auto sum =
        static_cast<double>((b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48));
    return (sum * 0x1p-16 - 2) * 1.7320508075688772;
  }

 private:
  std::uint64_t state_;
};

}  // namespace rapt::kit
