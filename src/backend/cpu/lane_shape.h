// SPDX-License-Identifier: Apache-2.0 OR MIT
// Queries in lanes: q is [unit of head_dim][row], out is [column][row]. The shape of prompts.
#pragma once
#include "backend/cpu/lanes.h"
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

  static void begin(const Context& c, Tile<Dot>& tile) {
    const Problem& p = c.problem;
    fill_lanes<Dot>(c, tile.rows, queries_of(p), tile.q);
    __builtin_memset(tile.out, 0, static_cast<std::size_t>(p.value_dim * kRows) * sizeof(float));
  }

  static void scores(Work<Dot>& work, const Tile<Dot>& tile, const Segment& s) {
    score_lanes<Dot>(work.block.k, tile.q, work.context->problem.head_dim / Dot::pack, s,
                     work.scores, work.prefetch);
  }

  static void values(Work<Dot>& work, Tile<Dot>& tile, const Segments& segments) {
    add_values<Dot>(work.block.v, work.context->problem.value_dim, segments, weights(work, 0),
                    tile.out);
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
    each_lane(tile.out, static_cast<int>(c.problem.value_dim), tile.rows.count, f);
  }
};

}  // namespace
}  // namespace rapt::cpu
