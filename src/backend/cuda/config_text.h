// SPDX-License-Identifier: Apache-2.0 OR MIT
// A configuration struct as text: C++ for the compiler, words for the ledger. The struct lists its
// members once, in a static `members(visit)` that calls visit("head_dim", &Config::head_dim) for
// each.
#pragma once
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

namespace rapt::cuda {

// The configuration whose bytes a kernel's key holds.
template <typename Config>
Config config_of(const void* bytes) {
  Config config;
  std::memcpy(&config, bytes, sizeof config);
  return config;
}

// Calls print(name, number, is_enum) for every member. False where the list leaves one out, which
// would compile as its default.
template <typename Config, typename Print>
bool for_each_member(const Config& config, Print print) {
  std::size_t bytes = 0;
  Config::members([&](const char* name, auto member) {
    using Member = std::remove_cvref_t<decltype(config.*member)>;
    static_assert(std::is_integral_v<Member> || std::is_enum_v<Member>);
    print(name, std::to_string(static_cast<long long>(config.*member)), std::is_enum_v<Member>);
    bytes += sizeof(Member);
  });
  return bytes == sizeof(Config);
}

// "kind=1 threads=256"; "" where members() is incomplete.
template <typename Config>
std::string config_words(const Config& config) {
  std::string words;
  const bool whole =
      for_each_member(config, [&](const char* name, const std::string& number, bool) {
        words.append(words.empty() ? "" : " ").append(name).append("=").append(number);
      });
  return whole ? words : "";
}

// "constexpr StreamConfig kConfig = {.kind = decltype(StreamConfig::kind){1}, .threads = 256};", or
// a line that no compiler takes where members() is incomplete.
template <typename Config>
std::string config_constant(const std::string& type, const Config& config) {
  std::string text = "constexpr ";
  text.append(type).append(" kConfig = {");
  const char* comma = "";
  const bool whole =
      for_each_member(config, [&](const char* name, const std::string& number, bool is_enum) {
        text.append(std::exchange(comma, ", ")).append(".").append(name).append(" = ");
        if (is_enum) text.append("decltype(").append(type).append("::").append(name).append(")");
        text.append(is_enum ? "{" + number + "}" : number);
      });
  return whole ? text.append("};\n") : "#error " + type + "::members leaves members out\n";
}

}  // namespace rapt::cuda
