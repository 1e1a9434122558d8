// SPDX-License-Identifier: Apache-2.0 OR MIT
// The register kernels: where all the time goes. "Queries in lanes": K and V are read in place by
// scalar broadcast, whatever their strides, and no sum crosses lanes. The second pair, for a
// handful of rows against a long cache, has the head dimension in lanes so that each key is loaded
// once, as vectors.
//
// Arrays of sums stay in registers only if every loop over them unrolls: gcc 12 spills them
// otherwise.
#pragma once
#include "backend/cpu/dot.h"
#include "backend/cpu/source.h"

namespace rapt::cpu {
namespace {

// S^T of kGroup keys x N lane vectors: scores[k][i] = sum over d of key k's [d] * q[d][i], in order
// of d.
template <class Dot, int N>
[[gnu::noinline]] void score_group(const typename Dot::Unit* const* keys,
                                   const typename Dot::Unit* q, std::int64_t units, float* scores) {
  const typename Dot::Unit* key[kGroup];
  F sum[kGroup][N];
#pragma GCC unroll 8
  for (int k = 0; k < kGroup; ++k) {
    key[k] = keys[k];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) sum[k][v] = Simd::set(0.0f);
  }
  for (std::int64_t d = 0; d < units; ++d, q += kRows) {
    typename Dot::V query[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) query[v] = Dot::load(q + v * kLanes);
#pragma GCC unroll 8
    for (int k = 0; k < kGroup; ++k) {
      const typename Dot::V element = Dot::broadcast(key[k] + d);
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) sum[k][v] = Dot::multiply_add(query[v], element, sum[k][v]);
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < kGroup; ++k) {
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) Simd::store(scores + k * kRows + v * kLanes, sum[k][v]);
  }
}

// A block of keys is summed by itself and then added: rounding errors grow with the number of
// blocks and not of keys (pairwise summation's argument; Higham 1993), at no cost.
[[gnu::always_inline]] inline void add_to(float* out, F sum) {
  Simd::store(out, Simd::load(out) + sum);
}

// O^T of kGroup columns x N lane vectors: out[c][i] += sum over keys of V[key][c] * p[key][i], in
// order.
template <class Dot, int N>
[[gnu::noinline]] void value_group(const typename Dot::Unit* const* values, std::int64_t column,
                                   std::int64_t units, const typename Dot::Unit* p, float* out) {
  F sum[kGroup][N];
#pragma GCC unroll 8
  for (int c = 0; c < kGroup; ++c) {
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) sum[c][v] = Simd::set(0.0f);
  }
  for (std::int64_t k = 0; k < units; ++k, p += kRows) {
    const typename Dot::Unit* value = values[k] + column;
    typename Dot::V weight[N];
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) weight[v] = Dot::load(p + v * kLanes);
#pragma GCC unroll 8
    for (int c = 0; c < kGroup; ++c) {
      const typename Dot::V element = Dot::broadcast(value + c);
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) sum[c][v] = Dot::multiply_add(weight[v], element, sum[c][v]);
    }
  }
#pragma GCC unroll 8
  for (int c = 0; c < kGroup; ++c) {
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) add_to(out + c * kRows + v * kLanes, sum[c][v]);
  }
}

// Query rows of one tile: their weights, [key][unit], and what these weigh, [column vector][unit]
// [lane].
template <class Dot>
struct RowSpan {
  const typename Dot::Unit* weights;
  const typename Dot::Unit* rows;
  int units;
};

// kGroup keys x N vectors of columns from vector `first`, summed over the query rows of some spans:
// out[k][c] += sum over units of weights[k][unit] * rows[unit][c]. `out` is seldom in L1: it is
// called for while the sum is made.
template <class Dot, int N>
[[gnu::noinline]] void key_group(const RowSpan<Dot>* spans, int count, int first, float* out,
                                 std::int64_t stride) {
  constexpr int kUnits = kRows / Dot::pack;
  F sum[kGroup][N];
#pragma GCC unroll 8
  for (int k = 0; k < kGroup; ++k) {
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) {
      __builtin_prefetch(out + k * stride + v * kLanes, 1);
      sum[k][v] = Simd::set(0.0f);
    }
  }
  for (const auto* span = spans; span < spans + count; ++span) {
    const typename Dot::Unit *weights = span->weights, *rows = span->rows + first * kUnits * kLanes;
    for (int unit = 0; unit < span->units; ++unit, ++weights, rows += kLanes) {
      typename Dot::V row[N];
#pragma GCC unroll 8
      for (int v = 0; v < N; ++v) row[v] = Dot::load(rows + v * kUnits * kLanes);
#pragma GCC unroll 8
      for (int k = 0; k < kGroup; ++k) {
        const typename Dot::V weight = Dot::broadcast(weights + k * kUnits);
#pragma GCC unroll 8
        for (int v = 0; v < N; ++v) sum[k][v] = Dot::multiply_add(row[v], weight, sum[k][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < kGroup; ++k) {
#pragma GCC unroll 8
    for (int v = 0; v < N; ++v) add_to(out + k * stride + v * kLanes, sum[k][v]);
  }
}

// Two keys against four rows: scores[k * kRows + r] = sum over d of keys[k][d] * q[r][d]; rows of q
// are padded with zeros. Two, because a vector of q is then loaded once for both: loads are what
// limits this.
template <class Dot>
[[gnu::always_inline]] inline void score_keys(const typename Dot::Unit* const* keys,
                                              const typename Dot::Unit* q, int q_stride, int units,
                                              float* scores) {
  const typename Dot::Unit *first = keys[0], *second = keys[1];
  F a[4], b[4];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) a[r] = b[r] = Simd::set(0.0f);
  for (int d = 0; d < units; d += kLanes) {
    const typename Dot::V x = Dot::load_row(first + d, units - d);
    const typename Dot::V y = Dot::load_row(second + d, units - d);
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const typename Dot::V query = Dot::load(q + r * q_stride + d);
      a[r] = Dot::multiply_add(query, x, a[r]);
      b[r] = Dot::multiply_add(query, y, b[r]);
    }
  }
  store4(scores, sum4(Simd::fold(a[0]), Simd::fold(a[1]), Simd::fold(a[2]), Simd::fold(a[3])));
  store4(scores + kRows,
         sum4(Simd::fold(b[0]), Simd::fold(b[1]), Simd::fold(b[2]), Simd::fold(b[3])));
}

// C vectors of columns of four rows: out[r][c] += sum over keys of p[key][r] * V[key][c].
template <int C>
[[gnu::noinline]] void value_columns(F32Dot, const float* const* values, int column, int columns,
                                     int keys, const float* p, float* out, int out_stride,
                                     Prefetch& prefetch) {
  F sum[4][C];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum[r][c] = Simd::set(0.0f);
  }
  for (int k = 0; k < keys; ++k, p += kRows) {
    prefetch.step();
    F value[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) {
      value[c] = Simd::load_row(values[k] + column + c * kLanes, columns - c * kLanes);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const F weight = Simd::set(p[r]);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum[r][c] = Simd::fma(value[c], weight, sum[r][c]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) add_to(out + r * out_stride + c * kLanes, sum[r][c]);
  }
}

#ifdef RAPT_CPU_BF16_DOT
// The same from BF16 rows in place, two keys a step. Each 32 columns keep Bf16Dot::interleave's
// order: `out` has the low halves of the runs of 8 in its first vector, the high halves in its
// second.
template <int C>
[[gnu::noinline]] void value_columns(Bf16Dot, const Bf16Dot::Unit* const* values, int column,
                                     int columns, int keys, const Bf16Dot::Unit* p, float* out,
                                     int out_stride, Prefetch& prefetch) {
  static_assert(C % 2 == 0);
  F sum[4][C];
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) sum[r][c] = Simd::set(0.0f);
  }
  for (int k = 0; k < keys; k += 2, p += kRows) {
    prefetch.step();
    const Bf16Dot::Unit* even = values[k] + column / 2;
    const Bf16Dot::Unit* odd = values[k + 1] + column / 2;  // the last key again behind the end
    Bf16Dot::V value[C];
#pragma GCC unroll 4
    for (int c = 0; c < C; c += 2) {
      const int left = (columns - c * kLanes) / 2;
      Bf16Dot::interleave(Bf16Dot::load_row(even + c * kLanes / 2, left),
                          Bf16Dot::load_row(odd + c * kLanes / 2, left), value[c], value[c + 1]);
    }
#pragma GCC unroll 4
    for (int r = 0; r < 4; ++r) {
      const Bf16Dot::V weight = Bf16Dot::broadcast(p + r);
#pragma GCC unroll 4
      for (int c = 0; c < C; ++c) sum[r][c] = Bf16Dot::multiply_add(value[c], weight, sum[r][c]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < C; ++c) add_to(out + r * out_stride + c * kLanes, sum[r][c]);
  }
}
#endif

// Calls f.template operator()<N>() for a run-time count of lane vectors.
template <class Function>
[[gnu::always_inline]] inline void with_vectors(int count, Function f) {
  if (count == 1) return f.template operator()<1>();
  if constexpr (kVectors >= 3) {
    if (count == 3) return f.template operator()<3>();
  }
  f.template operator()<2>();
}

}  // namespace
}  // namespace rapt::cpu
