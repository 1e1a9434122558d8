// SPDX-License-Identifier: Apache-2.0 OR MIT
// The suites that run on a CUDA device.
#pragma once
#include <vector>

#include "bench/suites.h"

namespace rapt::bench {

std::vector<Suite> cuda_suites();

}  // namespace rapt::bench
