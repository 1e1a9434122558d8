// SPDX-License-Identifier: Apache-2.0 OR MIT
// One work item, forward: some tiles of one (sequence, kv head) walk the same blocks of keys, so
// that each block is fetched, and where needed widened, once for all of them.
#pragma once
#include "backend/cpu/key_walk.h"
#include "backend/cpu/lane_shape.h"
#include "backend/cpu/row_shape.h"

namespace rapt::cpu {
namespace {

template <class Dot>
struct ItemMemory {
  Tile<Dot>* tiles;
  Block<Dot> block;
  float* scores;
  float* scratch;
  typename Dot::Unit* pairs;
};

template <class Shape, class Dot>
ItemMemory<Dot> allocate_item(Arena& arena, const Problem& p, int tiles) {
  ItemMemory<Dot> memory = {};
  memory.tiles = arena.take<Tile<Dot>>(tiles);
  for (int i = 0; i < tiles; ++i) {
    Tile<Dot> counted;  // where the arena only counts there is no tile
    Shape::allocate(arena, p, memory.tiles == nullptr ? counted : memory.tiles[i]);
  }
  allocate_block(arena, p, Shape::paired, memory.block);
  memory.scores = arena.take<float>(kBlock * kRows);
  if (p.bias != nullptr) memory.scratch = arena.take<float>(kBlock * kRows);
  if (Dot::pack == 2) memory.pairs = arena.take<typename Dot::Unit>(kBlock / 2 * kRows);
  return memory;
}

// Sets up the tiles of rows [first, last) and returns how many there are.
template <class Shape, class Dot>
int begin_tiles(const Context& c, Tile<Dot>* tiles, std::int64_t first, std::int64_t last) {
  int count = 0;
  for (; first < last; first += kRows, ++count) {
    const std::int64_t left = last - first;
    set_rows(c, tiles[count].rows, first, static_cast<int>(left < kRows ? left : kRows));
    reset_tile(tiles[count]);
    Shape::begin(c, tiles[count]);
  }
  return count;
}

// Partial rows of an item lie head by head.
inline std::int64_t partial_of(const WorkItem& item, std::int64_t kv_head, std::int64_t row) {
  const std::int64_t rows = item.row_end - item.row_begin;
  return item.partial + (kv_head - item.kv_head) * rows + row - item.row_begin;
}

// All heads and tiles of the item over all its keys.
template <class Shape, class Dot>
void walk_keys(const ForwardCall& call, const WorkItem& item, Work<Dot>& work, KeyWalk walk,
               Tile<Dot>* tiles, int tiles_a_head) {
  const Source source = make_source(make_context(call, item.sequence, item.kv_head));
  const int heads = static_cast<int>(item.kv_heads);
  const int steps = heads * tiles_a_head * Shape::steps(*call.problem);
  Place places[2];
  std::int64_t first = 0;
  int keys = walk.next(first, Shape::block_keys);
  find_rows(source, first, keys, places[0]);
  make_prefetch(source, places[0], heads, 1).step();
  for (int turn = 0; keys > 0; turn ^= 1) {
    const Place& place = places[turn];
    keys = walk.next(first, Shape::block_keys);
    find_rows(source, first, keys, places[turn ^ 1]);
    work.prefetch = make_prefetch(source, places[turn ^ 1], heads, steps);
    for (int head = 0; head < heads; ++head) {
      const Context c = make_context(call, item.sequence, item.kv_head + head);
      work.context = &c;
      prepare_block(source, place, head, Shape::paired, work.block);
      for (int i = 0; i < tiles_a_head; ++i) {
        advance<Shape>(work, tiles[head * tiles_a_head + i], place);
      }
    }
  }
}

template <class Shape, class Dot>
void finish_tile(const ForwardCall& call, const Context& c, const WorkItem& item,
                 const Tile<Dot>& tile) {
  if (item.partial < 0) {
    prefetch_rows(c, out_of(c.problem), tile.rows.first, tile.rows.count);
  }
  Shape::each_row(c, tile, [&](int lane, float* out) {
    const std::int64_t row = tile.rows.first + lane;
    const float reference = tile.reference[lane], sum = tile.sum[lane];
    if (item.partial < 0) {
      finish_row(c, row, out, reference, sum);
    } else {
      write_partial(call, partial_of(item, c.kv_head, row), out, reference, sum);
    }
  });
}

// Rows of tokens behind the sequence's used length.
inline void finish_padding(const ForwardCall& call, const Context& c, const WorkItem& item,
                           std::int64_t first) {
  const float zeros[kMaxDim] = {};
  for (std::int64_t row = first; row < item.row_end; ++row) {
    if (item.partial < 0) {
      write_empty_row(c, row);
    } else {
      write_partial(call, partial_of(item, c.kv_head, row), zeros, -kInfinity, 0.0f);
    }
  }
}

template <class Shape, class Dot>
void run_item(const ForwardCall& call, const WorkItem& item, std::int64_t row_end,
              std::byte* scratch) {
  const Problem& p = *call.problem;
  Arena arena = {scratch};
  ItemMemory<Dot> memory = allocate_item<Shape, Dot>(arena, p, Shape::max_tiles);
  Work<Dot> work = {nullptr,       make_passes(p), p.dropout_keep < 256, memory.block,
                    memory.scores, memory.scratch, memory.pairs,         {}};
  // Lanes without a row hold whatever the scores held; it must at least be finite.
  __builtin_memset(memory.scores, 0, kBlock * kRows * sizeof(float));
  int tiles = 0;
  for (std::int64_t head = 0; head < item.kv_heads; ++head) {
    const Context c = make_context(call, item.sequence, item.kv_head + head);
    tiles += begin_tiles<Shape>(c, memory.tiles + tiles, item.row_begin, row_end);
  }
  const int tiles_a_head = tiles / static_cast<int>(item.kv_heads);
  const KeyWalk walk =
      make_walk(make_context(call, item.sequence, item.kv_head), item, row_end - 1);
  walk_keys<Shape>(call, item, work, walk, memory.tiles, tiles_a_head);
  for (int i = 0; i < tiles; ++i) {
    const Context c = make_context(call, item.sequence, item.kv_head + i / tiles_a_head);
    finish_tile<Shape>(call, c, item, memory.tiles[i]);
  }
}

template <class Dot>
void forward_item(const ForwardCall& call, const WorkItem& item, std::byte* scratch) {
  const Context c = make_context(call, item.sequence, item.kv_head);
  const std::int64_t used = c.sequence.q_len * c.group;
  const std::int64_t row_end = item.row_end < used ? item.row_end : used;
  if (item.row_begin < row_end) {
    if (row_end - item.row_begin <= kShortRows) {
      run_item<RowShape<Dot>, Dot>(call, item, row_end, scratch);
    } else {
      run_item<LaneShape<Dot>, Dot>(call, item, row_end, scratch);
    }
  }
  const std::int64_t padding = row_end > item.row_begin ? row_end : item.row_begin;
  for (std::int64_t head = 0; head < item.kv_heads; ++head) {
    finish_padding(call, make_context(call, item.sequence, item.kv_head + head), item, padding);
  }
}

inline void forward(const ForwardCall& call, const WorkItem& item, std::byte* scratch) {
#ifdef RAPT_CPU_BF16_DOT
  if (call.problem->dtype == DType::bf16) return forward_item<Bf16Dot>(call, item, scratch);
#endif
  forward_item<F32Dot>(call, item, scratch);
}

inline void combine(const ForwardCall& call, const CombineItem& item, std::byte*) {
  const std::int64_t rows = item.row_end - item.row_begin;
  for (std::int64_t i = 0; i < rows * item.kv_heads; ++i) {
    const Context c = make_context(call, item.sequence, item.kv_head + i / rows);
    const std::int64_t row = item.row_begin + i % rows;
    if (c.token(row) >= c.sequence.q_len) {
      write_empty_row(c, row);
    } else {
      combine_row(call, c, row, item.partial + i, rows * item.kv_heads, item.splits);
    }
  }
}

inline bool is_short(const Problem& p) { return p.q_len * (p.q_heads / p.kv_heads) <= kShortRows; }

template <class Dot>
std::size_t item_bytes(const Problem& p) {
  Arena lanes, rows;
  allocate_item<LaneShape<Dot>, Dot>(lanes, p, LaneShape<Dot>::max_tiles);
  allocate_item<RowShape<Dot>, Dot>(rows, p, RowShape<Dot>::max_tiles);
  return lanes.used > rows.used ? lanes.used : rows.used;
}

inline std::size_t scratch_bytes(const Problem& p) {
#ifdef RAPT_CPU_BF16_DOT
  if (p.dtype == DType::bf16) return item_bytes<Bf16Dot>(p);
#endif
  return item_bytes<F32Dot>(p);
}

// A decode step's items take several kv heads and split down to 512 keys: 2 MB of BF16 cache at
// D128, against which what a split leaves behind is nothing. Prompts split only where rows are few.
inline Grain grain(const Problem& p) {
  if (is_short(p)) {
    return {.rows = kShortRows,
            .block_kv = RowShape<F32Dot>::block_keys,
            .split_keys = 512,
            .split_items = 64,
            .kv_heads = p.kv_heads < kShortHeads ? p.kv_heads : kShortHeads};
  }
  return {.rows = kRows * kLaneTiles, .block_kv = kBlock, .split_keys = 2048, .split_items = 16};
}

}  // namespace
}  // namespace rapt::cpu
