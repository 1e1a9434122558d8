// SPDX-License-Identifier: Apache-2.0 OR MIT
// How products are formed. A Unit is what one broadcast or one step of a dot product takes: a
// float, or (Bf16Dot, in simd_avx512_bf16.h) a pair of neighbouring BF16. F32Dot serves every
// element type: what is not FP32 in memory is widened block by block.
#pragma once
#include "backend/cpu/elements.h"
#include "backend/cpu/vec.h"

namespace rapt::cpu {
namespace {

struct F32Dot {
  using Unit = float;
  using V = F;
  static constexpr int pack = 1;                  // elements a unit
  static constexpr DType in_place = DType::fp32;  // read without a copy
  static V load(const Unit* p) { return Simd::load(p); }
  static V broadcast(const Unit* p) { return Simd::set(*p); }
  static F multiply_add(V a, V b, F c) { return Simd::fma(a, b, c); }
  // Up to a vector of a row's units; zeros behind its end.
  static V load_row(const Unit* p, int units) { return Simd::load_row(p, units); }
};

}  // namespace
}  // namespace rapt::cpu
