// SPDX-License-Identifier: Apache-2.0 OR MIT
// The forward kernels that this machine can run, by name: what tests on "every instruction set" go
// through.
#pragma once
#include <string>
#include <vector>

#include "rapt/rapt.h"

namespace rapt::kit {

std::vector<std::string> runnable_kernels();
// The same instruction sets' backwards.
std::vector<std::string> runnable_backwards();

// Options that force a kernel; the name must outlive them.
rapt_options force(const std::string& kernel);

}  // namespace rapt::kit
