// SPDX-License-Identifier: Apache-2.0 OR MIT
// A fuzzer's input as a stream of decisions; past its end every decision is 0.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <span>

namespace rapt::fuzz {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : rest_(data, size) {}

  std::uint8_t byte() {
    if (rest_.empty()) return 0;
    const std::uint8_t first = rest_.front();
    rest_ = rest_.subspan(1);
    return first;
  }

  bool flag() { return (byte() & 1) != 0; }

  // True about once in 32: where a hostile value replaces a sensible one.
  bool rare() { return byte() % 32 == 31; }

  // One of [low, high].
  std::int64_t range(std::int64_t low, std::int64_t high) {
    return low + byte() % (high - low + 1);
  }

  std::int64_t word() {
    std::int64_t value = 0;
    const std::size_t size = rest_.size() < sizeof value ? rest_.size() : sizeof value;
    std::memcpy(&value, rest_.data(), size);
    rest_ = rest_.subspan(size);
    return value;
  }

  // A number that arithmetic goes wrong on.
  std::int64_t hostile() {
    constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
    constexpr std::int64_t kNumbers[] = {0,         -1,           1,        7,         -kMost - 1,
                                         kMost,     kMost / 2,    1 << 20,  1LL << 31, 1LL << 32,
                                         1LL << 62, -(1LL << 31), kMost - 7};
    const std::size_t choice = byte() % (std::size(kNumbers) + 1);
    return choice < std::size(kNumbers) ? kNumbers[choice] : word();
  }

  // `value`, or rarely something hostile in its place.
  std::int64_t mostly(std::int64_t value) { return rare() ? hostile() : value; }

 private:
  std::span<const std::uint8_t> rest_;
};

}  // namespace rapt::fuzz
