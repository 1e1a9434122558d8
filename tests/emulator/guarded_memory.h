// SPDX-License-Identifier: Apache-2.0 OR MIT
// Memory that ends where a page begins that nobody may touch.
#pragma once
#include <cstddef>

namespace rapt::emulator {

// Aligned, and so up to alignment - 1 bytes away from that page; null where there is none left.
void* allocate_guarded(std::size_t bytes, std::size_t alignment);
void release_guarded(void* memory);  // null too

}  // namespace rapt::emulator
