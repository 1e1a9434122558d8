// SPDX-License-Identifier: Apache-2.0 OR MIT
// AVX-512 (F, BW, DQ, VL) as the width-free kernels see it. The kernel headers stand in an
// anonymous namespace: each isa_*.cpp gets its own copy, so no symbol of one instruction set can
// serve another.
#pragma once
// gcc 12's intrinsics start from registers that it then calls uninitialised (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

namespace rapt::cpu {
namespace {

typedef float F4 __attribute__((vector_size(16)));

struct Simd {
  static constexpr int lanes = 16;
  // 8 keys x 3 vectors of queries: 24 sums, 3 query vectors and a broadcast fill 28 of 32
  // registers, and a step of 24 FMAs needs 11 loads where 48 could be served
  // (docs/lab/cpu_forward.md).
  static constexpr int vectors = 3;
  static constexpr int group = 8;
  static constexpr int column_vectors = 4;  // decode: 4 rows x 4 vectors of V columns

  using F = __m512;
  typedef std::int32_t I __attribute__((vector_size(64)));
  typedef std::uint32_t U __attribute__((vector_size(64)));

  static F load(const float* p) { return _mm512_load_ps(p); }
  static void store(float* p, F v) { _mm512_store_ps(p, v); }
  static F set(float x) { return _mm512_set1_ps(x); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  // b where either is NaN.
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static bool any_greater(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ) != 0; }
  // The first `count` floats of a row, zeros behind them; reads nothing else.
  static F load_row(const float* p, int count) {
    return count >= lanes ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(0xff, p);  // count == 8
  }
  // exp2(x) = pow2_scale(poly(fraction(x)), x); fraction(-inf) is 0, so -inf needs no special case.
  static F fraction(F x) { return _mm512_reduce_ps(x, 1 | 8); }
  static F pow2_scale(F p, F x) { return _mm512_scalef_ps(p, x); }
  static U mul_high(U a, U b) {
    const __m512i x = (__m512i)a, y = (__m512i)b;
    const __m512i even = _mm512_mul_epu32(x, y);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), _mm512_srli_epi64(y, 32));
    return (U)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  }
  // Adds lanes 4 apart.
  static F4 fold(F v) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  }
  static void widen_half8(const std::uint16_t* from, float* to) {
    _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)));
  }
  static void narrow_half8(const float* from, std::uint16_t* to) {
    _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph(_mm256_loadu_ps(from), 0));
  }
};

}  // namespace
}  // namespace rapt::cpu
