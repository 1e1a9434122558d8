// SPDX-License-Identifier: Apache-2.0 OR MIT
// Matrix instructions: fragments of PTX ISA 9.0, 9.7.15.5 and 9.7.16.5, products summed in FP32.
#pragma once
#include <cstddef>

#include "machine.h"

namespace rapt::emulator {

enum class Half { bf16, fp16 };
float widen(Half type, u16 bits);
u16 narrow(Half type, float value);

// Registers are passed as an array of pointers to each.
using Words = u32* const*;
using ConstWords = const u32* const*;

void load_matrices(Words to, u32 row, bool turned);
void store_matrices(u32 row, ConstWords from);
void multiply_16x8x16(Half type, float* const* d, ConstWords a, ConstWords b,
                      const float* const* c);

// One thread's part in wgmma.
struct GroupProduct {
  Half type;
  int n;
  std::size_t registers;  // of d
  bool adds;
  int a_turned, b_turned;
  float* const* d;
  ConstWords a_registers;  // null: a is in shared memory
  u64 a, b;                // descriptors
};
void multiply_64xN(const GroupProduct& product);

}  // namespace rapt::emulator
