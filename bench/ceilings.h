// SPDX-License-Identifier: Apache-2.0 OR MIT
// What this machine can do at most, measured: multiply-adds a second and bytes read from memory a
// second.
#pragma once
#include <string>

#include "rapt/rapt.h"

namespace rapt::bench {

// Rates that so many threads reach together. 0 = the instruction set has no such unit, or the
// machine lacks it.
struct Ceilings {
  std::string isa;         // "avx512_bf16", "sm_90"
  std::string device;      // "NVIDIA H200"; "" = the processor
  int threads = 1;         // 0 on a device
  double fp32_gflops = 0;  // FP32 multiply-add
  double bf16_gflops = 0;  // BF16 dot products that sum in FP32
  double fp16_gflops = 0;  // FP16 products that sum in FP32
  double read_gbps = 0;    // streams from memory, far larger than every cache
};

// Takes about two seconds.
Ceilings measure_ceilings(const std::string& isa, int threads);

// The arithmetic ceiling for inputs of this type: that of its own unit where there is one, else
// FP32's.
double peak_gflops(const Ceilings& ceilings, rapt_dtype dtype);

// The same of the processor, measured anew: the clock of a shared machine drifts by a tenth within
// a minute. Takes a fifth of a second.
double measure_peak(const Ceilings& of, rapt_dtype dtype);

// "avx2" of "cpu/avx2_forward"; "" where no probe has the kernel's name.
std::string isa_of_kernel(const std::string& kernel);

}  // namespace rapt::bench
