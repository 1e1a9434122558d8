// SPDX-License-Identifier: Apache-2.0 OR MIT
// SHA-256 (FIPS 180-4): names cache entries by what they were made from, and tells damage.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace rapt::cuda {

class Sha256 {
 public:
  using Digest = std::array<std::uint8_t, 32>;

  void add(std::span<const std::byte> bytes);
  // The text's length, then the text: no two lists of texts run together alike.
  void add_field(std::string_view text);
  Digest finish();  // ends the object's use

 private:
  void block(const std::byte* bytes);  // 64 of them

  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> pending_{};
  std::uint64_t bytes_ = 0;
};

Sha256::Digest sha256(std::span<const std::byte> bytes);
std::string to_hex(const Sha256::Digest& digest);

}  // namespace rapt::cuda
