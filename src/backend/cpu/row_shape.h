// SPDX-License-Identifier: Apache-2.0 OR MIT
// A handful of rows against a long cache: q is [row][unit], out is [row][column], and each key and
// value row is loaded as vectors, four query rows a visit, so that the cache streams at the
// memory's rate. Scores still end as S^T with rows in lanes: every feature is shared with the other
// shape.
#pragma once
#include "backend/cpu/finish.h"
#include "backend/cpu/tile.h"

namespace rapt::cpu {
namespace {

constexpr int kShortRows = 8;   // beyond, queries in lanes are as fast
constexpr int kShortHeads = 8;  // kv heads an item takes: their rows of a key are often neighbours

template <class Dot>
struct RowShape {
  using Unit = typename Dot::Unit;
  static constexpr bool paired = false;
  static constexpr int max_tiles = kShortHeads;  // one a head
  static constexpr int block_keys = 64;          // of all heads and the next block in half of L2
  static constexpr int columns = Simd::column_vectors * kLanes;  // of one visit to the values

  // Steps of the prefetch that a tile makes in a block: a pair of keys' scores, a visit's product.
  static int steps(const Problem& p) {
    const int visits = (static_cast<int>(p.value_dim) + columns - 1) / columns;
    return block_keys / 2 + visits * block_keys / Dot::pack;
  }

  static int q_stride(const Problem& p) {
    return static_cast<int>((p.head_dim / Dot::pack + kLanes - 1) / kLanes * kLanes);
  }
  static int out_stride(const Problem& p) {
    return static_cast<int>((p.value_dim + 2 * kLanes - 1) / (2 * kLanes) * (2 * kLanes));
  }

  static void allocate(Arena& arena, const Problem& p, Tile<Dot>& tile) {
    tile.q = arena.take<Unit>(std::int64_t{kShortRows} * q_stride(p));
    tile.out = arena.take<float>(std::int64_t{kShortRows} * out_stride(p));
  }

  static void begin(const Context& c, Tile<Dot>& tile) {
    const Problem& p = c.problem;
    const int stride = q_stride(p);
    __builtin_memset(tile.q, 0, static_cast<std::size_t>(kShortRows * stride) * sizeof(Unit));
    __builtin_memset(tile.out, 0,
                     static_cast<std::size_t>(kShortRows * out_stride(p)) * sizeof(float));
    for (int lane = 0; lane < tile.rows.count; ++lane) {
      const char* row = queries_of(p).at(c, tile.rows.first + lane);
      if (p.dtype == Dot::in_place) {
        __builtin_memcpy(tile.q + lane * stride, row,
                         static_cast<std::size_t>(p.head_dim * element_bytes(p.dtype)));
      } else {
        widen_row(row, p.dtype, static_cast<int>(p.head_dim),
                  reinterpret_cast<float*>(tile.q + lane * stride));
      }
    }
  }

  // Rows whose lanes take part in a segment.
  static int first_row(const Segment& s) { return s.vector_begin * kLanes; }
  static int end_row(const Tile<Dot>& tile, const Segment& s) {
    return s.vector_end * kLanes < tile.rows.count ? s.vector_end * kLanes : tile.rows.count;
  }

  static void scores(Work<Dot>& work, const Tile<Dot>& tile, const Segment& s) {
    const int end = end_row(tile, s);
    const Problem& p = work.context->problem;
    const int units = static_cast<int>(p.head_dim / Dot::pack), stride = q_stride(p);
    // An odd end computes the last key twice; block.k repeats it, and `scores` has room.
    for (int key = s.key_begin; key < s.key_end; key += 2) {
      work.prefetch.step();
      for (int row = first_row(s); row < end; row += 4) {
        score_keys<Dot>(work.block.k + key, tile.q + row * stride, stride, units,
                        work.scores + key * kRows + row);
      }
    }
  }

  template <int C>
  static void value_span(Work<Dot>& work, Tile<Dot>& tile, const Segment& s, int column) {
    const Problem& p = work.context->problem;
    const int stride = out_stride(p), left = static_cast<int>(p.value_dim) - column;
    for (int row = first_row(s); row < end_row(tile, s); row += 4) {
      value_columns<C>(Dot{}, work.block.v + s.key_begin, column, left, s.key_end - s.key_begin,
                       weights(work, s.key_begin) + row, tile.out + row * stride + column, stride,
                       work.prefetch);
    }
  }

  static void values(Work<Dot>& work, Tile<Dot>& tile, const Segments& segments) {
    constexpr int kColumns = Simd::column_vectors, kLast = Dot::pack;
    const int value_dim = static_cast<int>(work.context->problem.value_dim);
    for (int i = 0; i < segments.count; ++i) {
      int column = 0;
      for (; column + columns - kLast * kLanes < value_dim; column += columns) {
        value_span<kColumns>(work, tile, segments.at[i], column);
      }
      for (; column < value_dim; column += kLast * kLanes) {
        value_span<kLast>(work, tile, segments.at[i], column);
      }
    }
  }

  static void rescale(const Work<Dot>& work, Tile<Dot>& tile, const float* factors) {
    const int stride = out_stride(work.context->problem);
    for (int row = 0; row < tile.rows.count; ++row) {
      float* out = tile.out + row * stride;
      const F factor = Simd::set(factors[row]);
      for (int c = 0; c < stride; c += kLanes) Simd::store(out + c, Simd::load(out + c) * factor);
    }
  }

  template <class Function>
  static void each_row(const Context& c, const Tile<Dot>& tile, Function f) {
    const int value_dim = static_cast<int>(c.problem.value_dim), stride = out_stride(c.problem);
    float row[kMaxDim];
    for (int lane = 0; lane < tile.rows.count; ++lane) {
      const float* out = tile.out + lane * stride;
      for (int d = 0; d < value_dim; d += 4) {
        // Bf16Dot keeps runs of 8 columns as two halves in neighbouring vectors
        // (Bf16Dot::interleave).
        const int in_run = d % 8 / 4, run = d % (2 * kLanes) / 8;
        const int at =
            Dot::pack == 1 ? d : d / (2 * kLanes) * (2 * kLanes) + in_run * kLanes + run * 4;
        store4(row + d, load4(out + at));
      }
      f(lane, row);
    }
  }
};

}  // namespace
}  // namespace rapt::cpu
