// SPDX-License-Identifier: Apache-2.0 OR MIT
// AVX512_BF16: dot products of BF16 pairs with FP32 sums, twice the rate of FP32. Includes
// AVX-512's Simd.
#pragma once
#include "backend/cpu/dot.h"

#define RAPT_CPU_BF16_DOT 1

namespace rapt::cpu {
namespace {

struct Bf16Dot {
  // A pair of BF16 in a caller's row is aligned to two bytes only.
  typedef std::uint32_t Unit __attribute__((aligned(2), may_alias));
  using V = __m512i;
  static constexpr int pack = 2;
  static constexpr DType in_place = DType::bf16;
  static V load(const Unit* p) { return _mm512_load_si512(p); }
  static V broadcast(const Unit* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }
  // VDPBF16PS treats subnormal inputs and sums as zero; FP32's are 2^-126 and below.
  static F multiply_add(V a, V b, F c) { return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b); }
  static V load_row(const Unit* p, int units) {
    if (units >= kLanes) return _mm512_loadu_si512(p);
    return _mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << units) - 1u), p);
  }

  // Lane i of `to` = BF16 of (even[i], odd[i]): two keys' probabilities, rounded to nearest even.
  static void store_pairs(Unit* to, F even, F odd) {
    alignas(64) static constexpr std::uint16_t kInterleave[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
    _mm512_store_si512(to, _mm512_permutexvar_epi16(_mm512_load_si512(kInterleave), both));
  }
  // A lane vector as BF16, side by side.
  static void store_row(Unit* to, F lanes) {
    _mm256_storeu_si256((__m256i*)to, (__m256i)_mm512_cvtneps_pbh(lanes));
  }
  // Rows `even` and `odd` as pairs along keys, 8 columns at a time.
  static void interleave_rows(const char* even, const char* odd, int columns, Unit* to) {
    for (int i = 0; i < columns; i += 8) {
      const __m128i a = _mm_loadu_si128((const __m128i*)(even + 2 * i));
      const __m128i b =
          odd == nullptr ? _mm_setzero_si128() : _mm_loadu_si128((const __m128i*)(odd + 2 * i));
      _mm_storeu_si128((__m128i*)(to + i), _mm_unpacklo_epi16(a, b));
      _mm_storeu_si128((__m128i*)(to + i + 4), _mm_unpackhi_epi16(a, b));
    }
  }
  // 32 columns of two rows as pairs; within each run of 8 columns, 4 go to `low`, 4 to `high`.
  static void interleave(V even, V odd, V& low, V& high) {
    low = _mm512_unpacklo_epi16(even, odd);
    high = _mm512_unpackhi_epi16(even, odd);
  }
};

}  // namespace
}  // namespace rapt::cpu
