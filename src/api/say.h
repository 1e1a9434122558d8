// SPDX-License-Identifier: Apache-2.0 OR MIT
// say(): puts a sentence together from text and numbers.
#pragma once
#include <concepts>
#include <cstdio>
#include <string>
#include <string_view>

namespace rapt {

inline void add_to(std::string& sentence, std::string_view text) { sentence += text; }

inline void add_to(std::string& sentence, std::integral auto number) {
  sentence += std::to_string(number);
}

inline void add_to(std::string& sentence, std::floating_point auto number) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(number));
  sentence += text;
}

template <typename... Parts>
std::string say(const Parts&... parts) {
  std::string sentence;
  (add_to(sentence, parts), ...);
  return sentence;
}

}  // namespace rapt
