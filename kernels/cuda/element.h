// SPDX-License-Identifier: Apache-2.0 OR MIT
// Element types of q, k, v and out, by which kernels are compiled. Read by the host's compiler and
// by NVRTC.
#pragma once

namespace rapt::kernels {

enum class Element : int { fp32 = 0, fp16 = 1, bf16 = 2 };

constexpr int element_bytes(Element e) { return e == Element::fp32 ? 4 : 2; }

}  // namespace rapt::kernels
