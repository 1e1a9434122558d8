// SPDX-License-Identifier: Apache-2.0 OR MIT
// AVX2 with FMA and F16C as the width-free kernels see it (see simd_avx512.h for the members).
#pragma once
#include <immintrin.h>

#include <cstdint>

namespace rapt::cpu {
namespace {

typedef float F4 __attribute__((vector_size(16)));

struct Simd {
  static constexpr int lanes = 8;
  // 4 keys x 3 vectors: 12 sums, 3 query vectors and a broadcast are all 16 registers.
#if defined(__clang__)
  static constexpr int vectors = 2;  // clang 19 spills 4 x 3: 41% of peak, 78% with 4 x 2
#else
  static constexpr int vectors = 3;
#endif
  static constexpr int group = 4;
  static constexpr int column_vectors = 2;

  using F = __m256;
  typedef std::int32_t I __attribute__((vector_size(32)));
  typedef std::uint32_t U __attribute__((vector_size(32)));

  static F load(const float* p) { return _mm256_load_ps(p); }
  static void store(float* p, F v) { _mm256_store_ps(p, v); }
  static F set(float x) { return _mm256_set1_ps(x); }
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static bool any_greater(F a, F b) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ)) != 0;
  }
  static F load_row(const float* p, int) { return _mm256_loadu_ps(p); }  // dims are multiples of 8
  static U mul_high(U a, U b) {
    const __m256i x = (__m256i)a, y = (__m256i)b;
    const __m256i even = _mm256_mul_epu32(x, y);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), _mm256_srli_epi64(y, 32));
    return (U)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  }
  static F4 fold(F v) { return _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)); }
  static void widen_half8(const std::uint16_t* from, float* to) {
    _mm256_storeu_ps(to, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)from)));
  }
  static void narrow_half8(const float* from, std::uint16_t* to) {
    _mm_storeu_si128((__m128i*)to, _mm256_cvtps_ph(_mm256_loadu_ps(from), 0));
  }
};

}  // namespace
}  // namespace rapt::cpu
