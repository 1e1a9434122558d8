// SPDX-License-Identifier: Apache-2.0 OR MIT
// Loops that do nothing but multiply and add, one an instruction set and element type: the rate
// that no kernel of that instruction set can exceed.
#pragma once
#include <cstdint>
#include <span>

#include "rapt/rapt.h"

namespace rapt::bench {

struct PeakProbe {
  const char* isa;   // as in the names of kernels: "avx512_bf16" of "cpu/avx512_bf16_forward"
  rapt_dtype dtype;  // of the products; sums are FP32
  double flops;      // of one turn of the loop
  bool (*runs_here)();
  void (*loop)(std::int64_t turns);
};

// Every probe of this architecture, also those that this machine cannot run.
std::span<const PeakProbe> peak_probes();

}  // namespace rapt::bench
