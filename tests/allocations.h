// SPDX-License-Identifier: Apache-2.0 OR MIT
// Counts what operator new is asked for, in every thread of the test program.
#pragma once
#include <cstdint>

namespace rapt {

// Allocations since the program began.
std::int64_t allocations();

}  // namespace rapt
