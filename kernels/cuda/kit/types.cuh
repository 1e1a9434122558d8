// SPDX-License-Identifier: Apache-2.0 OR MIT
// Integers by size, and 16-bit floating-point numbers as bits: no toolkit header is ever included.
#pragma once
#include "../element.h"

namespace rapt::kernels {

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;
using i64 = long long;

#if __CUDA_ARCH__ >= 800
constexpr bool kHasCpAsync = true;
#else
constexpr bool kHasCpAsync = false;
#endif

constexpr float kInfinity = __builtin_bit_cast(float, 0x7f800000u);
constexpr float kLog2E = 1.44269504088896341f;
constexpr i64 kUnbounded = 0x7fffffffffffffffLL;

__device__ __forceinline__ i64 clamp(i64 x, i64 low, i64 high) {
  return x < low ? low : (x > high ? high : x);
}

// a + b, held inside 64 bits: positions and bounds come from callers and may be huge.
__device__ __forceinline__ i64 saturating_add(i64 a, i64 b) {
  const i64 sum = static_cast<i64>(static_cast<u64>(a) + static_cast<u64>(b));
  if (((a ^ sum) & (b ^ sum)) >= 0) return sum;
  return b > 0 ? kUnbounded : -kUnbounded - 1;
}

// One element type: its bits in memory, and FP32 both ways, to nearest.
template <Element E>
struct Number;

template <>
struct Number<Element::fp32> {
  using Bits = u32;
  static __device__ __forceinline__ float widen(Bits x) { return __uint_as_float(x); }
  static __device__ __forceinline__ Bits narrow(float x) { return __float_as_uint(x); }
};

template <>
struct Number<Element::bf16> {
  using Bits = u16;
  static __device__ __forceinline__ float widen(Bits x) { return __uint_as_float(u32(x) << 16); }
  static __device__ __forceinline__ Bits narrow(float x) {
#if __CUDA_ARCH__ >= 800
    u16 rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded) : "f"(x));
    return rounded;
#else  // by hand: to nearest even; NaN stays NaN
    const u32 bits = __float_as_uint(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return u16(bits >> 16 | 0x40u);
    return u16((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
#endif
  }
};

template <>
struct Number<Element::fp16> {
  using Bits = u16;
  static __device__ __forceinline__ float widen(Bits x) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x));
    return wide;
  }
  static __device__ __forceinline__ Bits narrow(float x) {
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
  }
};

// Two numbers side by side in a register, the first in the low half.
template <Element E>
__device__ __forceinline__ u32 pack2(float low, float high) {
  u32 both;
#if __CUDA_ARCH__ < 800
  return u32(Number<E>::narrow(low)) | u32(Number<E>::narrow(high)) << 16;
#endif
  if constexpr (E == Element::bf16) {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
  }
  return both;
}

}  // namespace rapt::kernels
