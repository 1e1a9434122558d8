// SPDX-License-Identifier: Apache-2.0 OR MIT
// The wgmma instructions that a kernel uses, as text.
#pragma once
#include <string>

#include "kernels/cuda/element.h"

namespace rapt::cuda {

// The specialisation Wgmma<element, n> that kernels/cuda/kit/wgmma.cuh declares: an instruction
// lists its n / 2 accumulators one by one, which C++ cannot write for any n.
std::string wgmma_text(kernels::Element element, int n);

}  // namespace rapt::cuda
