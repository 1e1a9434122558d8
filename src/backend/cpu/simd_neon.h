// SPDX-License-Identifier: Apache-2.0 OR MIT
// NEON on AArch64 as the width-free kernels see it (see simd_avx512.h for the members).
#pragma once
#include <arm_neon.h>

#include <cstdint>

namespace rapt::cpu {
namespace {

typedef float F4 __attribute__((vector_size(16)));

struct Simd {
  static constexpr int lanes = 4;
  // 8 keys x 3 vectors: 24 sums of 32 registers, as on AVX-512.
  static constexpr int vectors = 3;
  static constexpr int group = 8;
  static constexpr int column_vectors = 4;

  using F = F4;
  typedef std::int32_t I __attribute__((vector_size(16)));
  typedef std::uint32_t U __attribute__((vector_size(16)));

  static F load(const float* p) { return (F)vld1q_f32(p); }
  static void store(float* p, F v) { vst1q_f32(p, (float32x4_t)v); }
  static F set(float x) { return (F)vdupq_n_f32(x); }
  static F fma(F a, F b, F c) {
    return (F)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
  }
  // FMAX would return the NaN; the kernels want the second argument then, as on x86.
  static F max(F a, F b) { return a > b ? a : b; }
  static F min(F a, F b) { return a < b ? a : b; }
  static bool any_greater(F a, F b) {
    return vmaxvq_u32(vcgtq_f32((float32x4_t)a, (float32x4_t)b)) != 0;
  }
  static F load_row(const float* p, int) { return (F)vld1q_f32(p); }
  static U mul_high(U a, U b) {
    const uint32x4_t x = (uint32x4_t)a, y = (uint32x4_t)b;
    const uint64x2_t low = vmull_u32(vget_low_u32(x), vget_low_u32(y));
    const uint64x2_t high = vmull_high_u32(x, y);
    return (U)vuzp2q_u32(vreinterpretq_u32_u64(low), vreinterpretq_u32_u64(high));
  }
  static F4 fold(F v) { return v; }
  static void widen_half8(const std::uint16_t* from, float* to) {
    const float16x8_t h = vreinterpretq_f16_u16(vld1q_u16(from));
    vst1q_f32(to, vcvt_f32_f16(vget_low_f16(h)));
    vst1q_f32(to + 4, vcvt_high_f32_f16(h));
  }
  static void narrow_half8(const float* from, std::uint16_t* to) {
    const float16x4_t low = vcvt_f16_f32(vld1q_f32(from));
    vst1q_u16(to, vreinterpretq_u16_f16(vcvt_high_f16_f32(low, vld1q_f32(from + 4))));
  }
};

}  // namespace
}  // namespace rapt::cpu
