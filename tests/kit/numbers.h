// SPDX-License-Identifier: Apache-2.0 OR MIT
// Element types as numbers: how the kit reads, writes and rounds them, apart from the library's own
// code.
#pragma once
#include <cstdint>

#include "rapt/rapt.h"

namespace rapt::kit {

std::int64_t dtype_bytes(rapt_dtype dtype);

// Element `index` of an array of dtype; integers too.
double load(const void* data, rapt_dtype dtype, std::int64_t index);
void store(void* data, rapt_dtype dtype, std::int64_t index, double value);

// Nearest number of dtype (ties to even), as FP32.
float round_to(rapt_dtype dtype, float value);

// Distance between neighbours of dtype at this magnitude.
double ulp(rapt_dtype dtype, double magnitude);

}  // namespace rapt::kit
