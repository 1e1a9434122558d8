// SPDX-License-Identifier: Apache-2.0 OR MIT
// Copies structs of callers that are older or younger than this library.
#include "api/sized.h"

#include <algorithm>
#include <cstring>

#include "api/say.h"

namespace rapt {
namespace {

// No struct grows by more than this; a larger size is a stray number, and reading so far would be
// unsafe.
constexpr std::size_t kMostGrowth = 4096;

}  // namespace

Status read_sized(const char* name, const void* from, Sizes sizes, void* to) {
  if (from == nullptr) return invalid(say(name, ": is null"));
  std::size_t given = 0;
  std::memcpy(&given, from, sizeof given);
  if (given < sizes.first || given > sizes.ours + kMostGrowth) {
    return invalid(
        say(name, ": struct_size is ", given, "; must be the struct's size, ", sizes.ours));
  }
  const auto* bytes = static_cast<const unsigned char*>(from);
  const std::size_t known = std::min(given, sizes.ours);
  if (std::any_of(bytes + known, bytes + given, [](unsigned char b) { return b != 0; })) {
    return invalid(say(name, ": has fields that this version of rapt does not know"));
  }
  std::memset(to, 0, sizes.ours);
  std::memcpy(to, from, known);
  return {};
}

}  // namespace rapt
