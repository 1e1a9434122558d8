// SPDX-License-Identifier: Apache-2.0 OR MIT
// Rows turned into lanes, [unit of the dimension][row], and back; and the products of such rows
// with a block's keys and values. Forward and backward are made of them.
#pragma once
#include "backend/cpu/finish.h"
#include "backend/cpu/micro.h"

namespace rapt::cpu {
namespace {

// The row as units, in place where its type is Dot's, else widened into `wide`.
template <class Dot>
const char* row_units(const Context& c, const RowTensor& tensor, std::int64_t row, float* wide) {
  const char* from = tensor.at(c, row);
  if (tensor.dtype == Dot::in_place) return from;
  widen_row(from, tensor.dtype, tensor.dim, wide);
  return reinterpret_cast<const char*>(wide);
}

// Rows of units, 4 bytes each whatever they mean, into columns.
inline void turn_units(const char* const rows[4], int units, void* lanes) {
  constexpr int kBytes = 4;
  for (int d = 0; d < units; d += 4) {
    F4 from[4], to[4];
    for (int i = 0; i < 4; ++i) from[i] = load4(rows[i] + d * kBytes);
    transpose4(from, to);
    for (int i = 0; i < 4; ++i) {
      store4(static_cast<char*>(lanes) + (d + i) * kRows * kBytes, to[i]);
    }
  }
}

// A tile's rows into lanes; lanes behind the last row repeat it.
template <class Dot>
void fill_lanes(const Context& c, const TileRows& rows, const RowTensor& tensor,
                typename Dot::Unit* lanes) {
  float wide[4][kMaxDim];
  for (int lane = 0; lane < rows.vectors * kLanes; lane += 4) {
    const char* four[4];
    for (int i = 0; i < 4; ++i) {
      const int real = lane + i < rows.count ? lane + i : rows.count - 1;
      four[i] = row_units<Dot>(c, tensor, rows.first + real, wide[i]);
    }
    turn_units(four, tensor.dim / Dot::pack, lanes + lane);
  }
}

// Calls f(lane, row of dim sums) for each of `count` lanes.
template <class Function>
void each_lane(const float* lanes, int dim, int count, Function f) {
  float rows[4][kMaxDim];
  for (int lane = 0; lane < count; lane += 4) {
    for (int d = 0; d < dim; d += 4) {
      F4 from[4], to[4];
      for (int i = 0; i < 4; ++i) from[i] = load4(lanes + (d + i) * kRows + lane);
      transpose4(from, to);
      for (int i = 0; i < 4; ++i) store4(rows[i] + d, to[i]);
    }
    for (int i = 0; i < 4 && lane + i < count; ++i) f(lane + i, rows[i]);
  }
}

// scores[key][lane] = sum over units of keys[key] * lanes, for a segment's keys, filled up to a
// group.
template <class Dot>
void score_lanes(const typename Dot::Unit* const* keys, const typename Dot::Unit* lanes,
                 std::int64_t units, const Segment& s, float* scores, Prefetch& prefetch) {
  const int lane = s.vector_begin * kLanes;
  with_vectors(s.vector_end - s.vector_begin, [&]<int N>() {
    for (int key = s.key_begin; key < s.key_end; key += kGroup) {
      prefetch.step();
      score_group<Dot, N>(keys + key, lanes + lane, units, scores + key * kRows + lane);
    }
  });
}

// out[column][lane] += sum over keys of values[key][column] * weights[key][lane]; where units are
// pairs, `values` and `weights` are pairs of keys.
template <class Dot>
void add_values(const typename Dot::Unit* const* values, std::int64_t columns,
                const Segments& segments, const typename Dot::Unit* weights, float* out) {
  for (std::int64_t column = 0; column < columns; column += kGroup) {
    for (int i = 0; i < segments.count; ++i) {
      const Segment& s = segments.at[i];
      const int lane = s.vector_begin * kLanes, first = s.key_begin / Dot::pack;
      const std::int64_t units = (s.key_end - s.key_begin + Dot::pack - 1) / Dot::pack;
      with_vectors(s.vector_end - s.vector_begin, [&]<int N>() {
        value_group<Dot, N>(values + first, column, units, weights + first * kRows + lane,
                            out + column * kRows + lane);
      });
    }
  }
}

}  // namespace
}  // namespace rapt::cpu
