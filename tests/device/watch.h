// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a warm launch must not do, counted: reads of the environment and locks of mutexes, in every
// thread of the test program. Allocations are counted by allocations.h.
#pragma once
#include <cstdint>

namespace rapt::test {

std::int64_t environment_reads();
std::int64_t locks();

}  // namespace rapt::test
