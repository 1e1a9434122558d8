// SPDX-License-Identifier: Apache-2.0 OR MIT
// SSE2, every x86-64's floor, as the width-free kernels see it (see simd_avx512.h for the members).
#pragma once
#include <emmintrin.h>

#include <cstdint>

#include "backend/cpu/half.h"

namespace rapt::cpu {
namespace {

typedef float F4 __attribute__((vector_size(16)));

struct Simd {
  static constexpr int lanes = 4;
  // 4 keys x 2 vectors: a product needs a register of its own where there is no FMA.
  static constexpr int vectors = 2;
  static constexpr int group = 4;
  static constexpr int column_vectors = 2;

  using F = __m128;
  typedef std::int32_t I __attribute__((vector_size(16)));
  typedef std::uint32_t U __attribute__((vector_size(16)));

  static F load(const float* p) { return _mm_load_ps(p); }
  static void store(float* p, F v) { _mm_store_ps(p, v); }
  static F set(float x) { return _mm_set1_ps(x); }
  static F fma(F a, F b, F c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
  static F max(F a, F b) { return _mm_max_ps(a, b); }
  static F min(F a, F b) { return _mm_min_ps(a, b); }
  static bool any_greater(F a, F b) { return _mm_movemask_ps(_mm_cmpgt_ps(a, b)) != 0; }
  static F load_row(const float* p, int) { return _mm_loadu_ps(p); }
  static U mul_high(U a, U b) {
    const __m128i x = (__m128i)a, y = (__m128i)b;
    const __m128i even = _mm_srli_epi64(_mm_mul_epu32(x, y), 32);
    const __m128i odd = _mm_mul_epu32(_mm_srli_epi64(x, 32), _mm_srli_epi64(y, 32));
    const __m128i high = _mm_set_epi32(-1, 0, -1, 0);
    return (U)_mm_or_si128(even, _mm_and_si128(odd, high));
  }
  static F4 fold(F v) { return v; }
  static void widen_half8(const std::uint16_t* from, float* to) {
    for (int i = 0; i < 8; ++i) to[i] = half_to_float(from[i]);
  }
  static void narrow_half8(const float* from, std::uint16_t* to) {
    for (int i = 0; i < 8; ++i) to[i] = float_to_half(from[i]);
  }
};

}  // namespace
}  // namespace rapt::cpu
