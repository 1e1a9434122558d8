// SPDX-License-Identifier: Apache-2.0 OR MIT
// What every kernel does with vectors of whatever width Simd has: shapes of tiles, exp2, tanh,
// Philox. Include after one simd_*.h.
#pragma once
#include <cstdint>

namespace rapt::cpu {
namespace {

using F = Simd::F;
using I = Simd::I;
using U = Simd::U;

constexpr int kLanes = Simd::lanes;
constexpr int kVectors = Simd::vectors;
constexpr int kGroup = Simd::group;       // keys, or value columns, held in registers at once
constexpr int kRows = kLanes * kVectors;  // query rows of a tile
constexpr float kInfinity = __builtin_inff();
constexpr float kLog2E = 1.44269504088896341f;

inline F select(I mask, F yes, F no) { return (F)(mask ? (I)yes : (I)no); }

inline F abs(F x) { return (F)((I)x & 0x7fffffff); }

// 2^n of whole n in [-126, 127]; anything where n is NaN.
inline F pow2(F n) { return (F)((__builtin_convertvector(n, I) + 127) << 23); }

// Nearest whole number of |x| < 2^22.
inline F round(F x) {
  const F magic = Simd::set(12582912.0f);  // 1.5 * 2^23
  return (x + magic) - magic;
}

// 2^x, relative error 1.5e-7: 0 for -inf, NaN for NaN. Where the instruction set has no scaling by
// powers of two, 0 already below -126.
template <class S = Simd>
[[gnu::always_inline]] inline F exp2(F x) {
  constexpr bool scales = requires { S::fraction(x); };
  F r, y = x;
  if constexpr (scales) {
    r = S::fraction(x);
  } else {
    y = Simd::max(Simd::set(-126.5f), x);
    r = y - round(y - Simd::set(0.5f));
  }
  // Minimax on [0, 1] for the relative error with p(0) = 1: 8.3e-8 before rounding.
  F p = Simd::set(1.8671302823349833e-3f);
  p = Simd::fma(p, r, Simd::set(9.017029777169228e-3f));
  p = Simd::fma(p, r, Simd::set(5.579991266131401e-2f));
  p = Simd::fma(p, r, Simd::set(2.4016444385051727e-1f));
  p = Simd::fma(p, r, Simd::set(6.931512951850891e-1f));
  p = Simd::fma(p, r, Simd::set(1.0f));
  if constexpr (scales) {
    return S::pow2_scale(p, x);
  } else {
    // The clamp keeps 2^n normal; what it caught is below 2^-126, except NaN, which passed it.
    return select(x < Simd::set(-126.0f), Simd::set(0.0f), p * pow2(y - r));
  }
}

// tanh(x) to a few ulp for every x, small ones too: e / (e + 2) with e = exp(2|x|) - 1.
[[gnu::always_inline]] inline F tanh(F x) {
  const F t = Simd::min(Simd::set(28.0f), abs(x) * Simd::set(2 * kLog2E));  // tanh(9.7) is 1
  const F n = round(t);
  const F r = t - n;
  // (2^r - 1) / r on [-0.5, 0.5], relative error 1.1e-8.
  F q = Simd::set(1.5403512022550207e-4f);
  q = Simd::fma(q, r, Simd::set(1.3390735257416964e-3f));
  q = Simd::fma(q, r, Simd::set(9.618237614631653e-3f));
  q = Simd::fma(q, r, Simd::set(5.550357326865196e-2f));
  q = Simd::fma(q, r, Simd::set(2.4022649228572845e-1f));
  q = Simd::fma(q, r, Simd::set(6.931471824645996e-1f));
  const F scale = pow2(n);
  const F e = Simd::fma(scale, q * r, scale - Simd::set(1.0f));
  return (F)((I)(e / (e + Simd::set(2.0f))) | ((I)x & (I)Simd::set(-0.0f)));
}

// Philox4x32-7 (Salmon et al., SC 2011): four words of each lane's counter, in place.
struct Philox {
  std::uint32_t key_low, key_high;

  void operator()(U c[4]) const {
    std::uint32_t k0 = key_low, k1 = key_high;
    const U m0 = U{} + 0xd2511f53u, m1 = U{} + 0xcd9e8d57u;
    for (int round_index = 0; round_index < 7; ++round_index) {
      const U high0 = Simd::mul_high(m0, c[0]), low0 = m0 * c[0];
      const U high1 = Simd::mul_high(m1, c[2]), low1 = m1 * c[2];
      c[0] = high1 ^ c[1] ^ k0;
      c[1] = low1;
      c[2] = high0 ^ c[3] ^ k1;
      c[3] = low0;
      k0 += 0x9e3779b9u;
      k1 += 0xbb67ae85u;
    }
  }
};

// Transposes 4 x 4: column pointers of `to` are rows of `from`.
[[gnu::always_inline]] inline void transpose4(const F4 from[4], F4 to[4]) {
  const F4 a = __builtin_shufflevector(from[0], from[1], 0, 4, 1, 5);
  const F4 b = __builtin_shufflevector(from[2], from[3], 0, 4, 1, 5);
  const F4 c = __builtin_shufflevector(from[0], from[1], 2, 6, 3, 7);
  const F4 d = __builtin_shufflevector(from[2], from[3], 2, 6, 3, 7);
  to[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  to[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  to[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  to[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

// Sums of four vectors' lanes, one a lane.
[[gnu::always_inline]] inline F4 sum4(F4 a, F4 b, F4 c, F4 d) {
  const F4 ab =
      __builtin_shufflevector(a, b, 0, 4, 1, 5) + __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const F4 cd =
      __builtin_shufflevector(c, d, 0, 4, 1, 5) + __builtin_shufflevector(c, d, 2, 6, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
}

typedef std::uint16_t H8 __attribute__((vector_size(16)));

inline F4 load4(const void* p) {
  F4 v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
inline void store4(void* p, F4 v) { __builtin_memcpy(p, &v, sizeof v); }

}  // namespace
}  // namespace rapt::cpu
