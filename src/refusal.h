// SPDX-License-Identifier: Apache-2.0 OR MIT
// Why a kernel does not take a problem: the parts of a sentence, put together only where somebody
// reads it. A choice asks every row before the one that takes the problem, at every call, and most
// of what they say is never read.
#pragma once
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rapt {

class Refusal {
 public:
  // Takes the problem.
  Refusal() = default;

  // Parts are numbers, and texts that stay until the sentence is read: literals, table entries.
  template <typename... Parts>
  static Refusal because(const Parts&... parts) {
    static_assert(sizeof...(parts) <= kMostParts);
    Refusal refusal;
    std::size_t count = 0;
    ((refusal.parts_[count++] = Part(parts)), ...);
    return refusal;
  }

  [[nodiscard]] bool refuses() const { return parts_[0].text.data() != nullptr; }

  // "" where it takes the problem.
  [[nodiscard]] std::string sentence() const {
    std::string all;
    for (const Part& part : parts_) {
      all += part.is_number ? std::to_string(part.number) : std::string(part.text);
    }
    return all;
  }

 private:
  static constexpr std::size_t kMostParts = 8;

  struct Part {
    Part() = default;
    explicit Part(const char* words) : text(words) {}
    explicit Part(std::string_view words) : text(words) {}
    explicit Part(const std::string&) = delete;  // may be gone when the sentence is read
    explicit Part(std::integral auto value)
        : number(static_cast<std::int64_t>(value)), is_number(true) {}

    std::string_view text;
    std::int64_t number = 0;
    bool is_number = false;
  };

  std::array<Part, kMostParts> parts_;
};

}  // namespace rapt
