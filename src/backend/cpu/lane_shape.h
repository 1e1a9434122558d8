// SPDX-License-Identifier: Apache-2.0 OR MIT
// Queries in lanes: q is [unit of head_dim][row], out is [column][row]. The shape of prompts.
#pragma once
#include "backend/cpu/finish.h"
#include "backend/cpu/tile.h"

namespace rapt::cpu {
namespace {

// About 192 rows share a block: a quarter of that costs 3% at BF16 D128 (docs/lab/cpu_forward.md).
constexpr int kLaneTiles = 192 / kRows;

template <class Dot>
struct LaneShape {
  using Unit = typename Dot::Unit;
  static constexpr bool paired = Dot::pack == 2;
  static constexpr int max_tiles = kLaneTiles;
  static constexpr int block_keys = kBlock;

  // Steps of the prefetch that a tile makes in a block: a group of keys' scores.
  static int steps(const Problem&) { return block_keys / kGroup; }

  static void allocate(Arena& arena, const Problem& p, Tile<Dot>& tile) {
    tile.q = arena.take<Unit>(p.head_dim / Dot::pack * kRows);
    tile.out = arena.take<float>(p.value_dim * kRows);
  }

  // Rows of units, 4 bytes each whatever they mean, into columns.
  static void turn_queries(const char* const rows[4], int units, Unit* q) {
    for (int d = 0; d < units; d += 4) {
      F4 from[4], to[4];
      for (int i = 0; i < 4; ++i) from[i] = load4(rows[i] + d * 4);
      transpose4(from, to);
      for (int i = 0; i < 4; ++i) store4(q + (d + i) * kRows, to[i]);
    }
  }

  static void begin(const Context& c, Tile<Dot>& tile) {
    const Problem& p = c.problem;
    const int head_dim = static_cast<int>(p.head_dim);
    float wide[4][kMaxDim];
    prefetch_queries(c, tile.rows.first, tile.rows.count);
    for (int lane = 0; lane < tile.rows.vectors * kLanes; lane += 4) {
      const char* rows[4];
      for (int i = 0; i < 4; ++i) {
        const int real = lane + i < tile.rows.count ? lane + i : tile.rows.count - 1;
        rows[i] = static_cast<const char*>(p.q.data) +
                  row_offset(c, p.q, tile.rows.first + real) * element_bytes(p.dtype);
        if (p.dtype == Dot::in_place) continue;
        widen_row(rows[i], p.dtype, head_dim, wide[i]);
        rows[i] = reinterpret_cast<const char*>(wide[i]);
      }
      turn_queries(rows, head_dim / Dot::pack, tile.q + lane);
    }
    __builtin_memset(tile.out, 0, static_cast<std::size_t>(p.value_dim * kRows) * sizeof(float));
  }

  static void scores(Work<Dot>& work, const Tile<Dot>& tile, const Segment& s) {
    const std::int64_t units = work.context->problem.head_dim / Dot::pack;
    const int lane = s.vector_begin * kLanes;
    with_vectors(s.vector_end - s.vector_begin, [&]<int N>() {
      for (int key = s.key_begin; key < s.key_end; key += kGroup) {
        work.prefetch.step();
        score_group<Dot, N>(work.block.k + key, tile.q + lane, units,
                            work.scores + key * kRows + lane);
      }
    });
  }

  static void values(Work<Dot>& work, Tile<Dot>& tile, const Segments& segments) {
    const std::int64_t value_dim = work.context->problem.value_dim;
    for (std::int64_t column = 0; column < value_dim; column += kGroup) {
      for (int i = 0; i < segments.count; ++i) {
        const Segment& s = segments.at[i];
        const int lane = s.vector_begin * kLanes;
        const std::int64_t units = (s.key_end - s.key_begin + Dot::pack - 1) / Dot::pack;
        with_vectors(s.vector_end - s.vector_begin, [&]<int N>() {
          value_group<Dot, N>(work.block.v + s.key_begin / Dot::pack, column, units,
                              weights(work, s.key_begin) + lane, tile.out + column * kRows + lane);
        });
      }
    }
  }

  static void rescale(const Work<Dot>& work, Tile<Dot>& tile, const float* factors) {
    for (int v = 0; v < tile.rows.vectors; ++v) {
      const F factor = Simd::load(factors + v * kLanes);
      float* out = tile.out + v * kLanes;
      for (std::int64_t c = 0; c < work.context->problem.value_dim; ++c, out += kRows) {
        Simd::store(out, Simd::load(out) * factor);
      }
    }
  }

  // Calls f(lane, row of value_dim sums) for every real row.
  template <class Function>
  static void each_row(const Context& c, const Tile<Dot>& tile, Function f) {
    const int value_dim = static_cast<int>(c.problem.value_dim);
    float rows[4][kMaxDim];
    for (int lane = 0; lane < tile.rows.count; lane += 4) {
      for (int d = 0; d < value_dim; d += 4) {
        F4 from[4], to[4];
        for (int i = 0; i < 4; ++i) from[i] = load4(tile.out + (d + i) * kRows + lane);
        transpose4(from, to);
        for (int i = 0; i < 4; ++i) store4(rows[i] + d, to[i]);
      }
      for (int i = 0; i < 4 && lane + i < tile.rows.count; ++i) f(lane + i, rows[i]);
    }
  }
};

}  // namespace
}  // namespace rapt::cpu
