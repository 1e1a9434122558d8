// SPDX-License-Identifier: Apache-2.0 OR MIT
#include "tensor_map.h"

#include <algorithm>
#include <cstring>

namespace rapt::emulator {
namespace {

constexpr u64 kMostStride = u64{1} << 40;
constexpr u64 kMostSize = u64{1} << 32;
constexpr u32 kMostBox = 256;

// Bits 4.. of an address change with bits 7..: one, two or three of them (32, 64, 128 bytes).
u32 swizzled(u32 address, int swizzle) {
  return address ^ (address >> 7 & ((1u << swizzle) - 1)) << 4;
}

// visit(offset in the box, element in global memory or null where it is outside), element by
// element in the box's order.
template <class Visit>
void each_element(const TensorMap& map, const Coordinates& at, Visit visit) {
  u32 index[TensorMap::kMaxRank] = {};
  for (u32 offset = 0;; offset += map.element_bytes) {
    unsigned char* element = map.data;
    for (int i = 0; i < map.rank; ++i) {
      const std::int64_t place = at[static_cast<std::size_t>(i)] + index[i];
      const bool inside = place >= 0 && place < static_cast<std::int64_t>(map.shape[i]);
      if (!inside) element = nullptr;
      if (element == nullptr) continue;
      element +=
          place * static_cast<std::int64_t>(i == 0 ? map.element_bytes : map.byte_strides[i - 1]);
    }
    visit(offset, element);
    int i = 0;
    while (i < map.rank && ++index[i] == map.box[i]) index[i++] = 0;
    if (i == map.rank) return;
  }
}

TensorMap checked(const void* opaque, u32 shared_at) {
  TensorMap map;
  std::memcpy(&map, opaque, sizeof map);
  if (map.made != kMade) fail("a tensor map that was never made");
  if (shared_at % 128 != 0) fail("a box in shared memory that is not aligned to 128 bytes");
  return map;
}

u32 box_bytes(const TensorMap& map) {
  u32 bytes = map.element_bytes;
  for (int i = 0; i < map.rank; ++i) bytes *= map.box[i];
  return bytes;
}

}  // namespace

bool is_valid(const TensorMap& map) {
  const auto aligned = [](u64 x) { return x % 16 == 0; };
  bool valid = aligned(reinterpret_cast<std::uintptr_t>(map.data));
  for (int i = 0; i < map.rank; ++i) {
    valid &=
        map.shape[i] > 0 && map.shape[i] <= kMostSize && map.box[i] > 0 && map.box[i] <= kMostBox;
    if (i > 0) {
      const u64 stride = map.byte_strides[i - 1];
      valid &= aligned(stride) && stride > 0 && stride < kMostStride;
    }
  }
  const u32 inner = map.box[0] * map.element_bytes;
  return valid && aligned(inner) && (map.swizzle == 0 || inner <= (16u << map.swizzle));
}

void load_box(u32 to, const void* opaque, Coordinates at, u32 barrier) {
  const TensorMap map = checked(opaque, to);
  deliver([=] {
    each_element(map, at, [&](u32 offset, const unsigned char* element) {
      void* place = shared(swizzled(to + offset, map.swizzle), map.element_bytes);
      if (element == nullptr) {
        std::memset(place, 0, map.element_bytes);
      } else {
        std::memcpy(place, element, map.element_bytes);
      }
    });
    mbarrier_complete(barrier, box_bytes(map));
  });
}

void store_box(const void* opaque, Coordinates at, u32 from) {
  const TensorMap map = checked(opaque, from);
  if (std::any_of(at.begin(), at.begin() + map.rank, [](auto x) { return x < 0; })) {
    fail("a box is stored at a negative coordinate");
  }
  thread_stores().add([=] {
    each_element(map, at, [&](u32 offset, unsigned char* element) {
      if (element == nullptr) return;
      const void* place = shared(swizzled(from + offset, map.swizzle), map.element_bytes);
      std::memcpy(element, place, map.element_bytes);
    });
  });
}

}  // namespace rapt::emulator
