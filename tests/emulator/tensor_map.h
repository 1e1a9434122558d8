// SPDX-License-Identifier: Apache-2.0 OR MIT
// The tensor memory accelerator: boxes of a tensor, zeros outside it, in the swizzles of PTX
// ISA 9.0, 5.5.7.
#pragma once
#include <array>
#include <cstdint>

#include "machine.h"

namespace rapt::emulator {

// What an opaque CUtensorMap holds here.
struct TensorMap {
  static constexpr int kMaxRank = 5;

  u64 shape[kMaxRank];
  u64 byte_strides[kMaxRank - 1];  // of dimensions 1 and on
  unsigned char* data;
  u32 box[kMaxRank];
  std::uint8_t rank, element_bytes, swizzle;
  std::uint8_t made;  // kMade
};
static_assert(sizeof(TensorMap) <= 128);
constexpr std::uint8_t kMade = 0x5a;

// False where the hardware would not take it.
bool is_valid(const TensorMap& map);

using Coordinates = std::array<std::int64_t, TensorMap::kMaxRank>;

void load_box(u32 to, const void* map, Coordinates at, u32 barrier);
void store_box(const void* map, Coordinates at, u32 from);

}  // namespace rapt::emulator
