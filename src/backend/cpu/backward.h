// SPDX-License-Identifier: Apache-2.0 OR MIT
// One work item, backward: some tiles of query rows of one (sequence, kv head) walk the same blocks
// of keys, as in the forward. dQ of a tile, and dK and dV of a block over all the tiles, are summed
// by themselves and then added to the call's sums; the end narrows those into the caller's tensors.
#pragma once
#include "backend/cpu/gradient_tile.h"
#include "backend/cpu/key_walk.h"

namespace rapt::cpu {
namespace {

inline int gradient_tiles(const Problem& p) {
  return p.head_dim + p.value_dim > 256 ? kWideGradientTiles : kGradientTiles;
}

inline Context gradient_context(const GradientCall& call, std::int64_t sequence,
                                std::int64_t kv_head) {
  return make_context({&call.gradient->forward, call.sequences, {}}, sequence, kv_head);
}

// BF16 products need all operands in BF16; a d_out of FP32 keeps its precision.
inline bool multiplies_bf16(const Problem& p) {
  return p.dtype == DType::bf16 && p.out_dtype == DType::bf16;
}

template <class Dot>
struct GradientMemory {
  GradientTile<Dot>* tiles;
  GradientWork<Dot> work;
};

template <class Dot>
void allocate_tile(Arena& arena, const Problem& p, GradientTile<Dot>& tile) {
  using Unit = typename Dot::Unit;
  tile.q = arena.take<Unit>(p.head_dim / Dot::pack * kRows);
  tile.d_out = arena.take<Unit>(p.value_dim / Dot::pack * kRows);
  tile.q_rows = arena.take<Unit>(kRows / Dot::pack * padded_columns(p.head_dim));
  tile.d_out_rows = arena.take<Unit>(kRows / Dot::pack * padded_columns(p.value_dim));
  tile.dq = arena.take<float>(p.head_dim * kRows);
}

// Weights of a block, a tile's own while they wait for the other tiles'. Where those are units and
// no floats, the floats they are made of are one tile's after the other's.
template <class Dot>
void allocate_weights(Arena& arena, const GradientWeights<Dot>& shared,
                      GradientWeights<Dot>& weights) {
  constexpr int kScores = kBlock * kRows;
  weights = shared;
  if constexpr (Dot::pack == 1) {
    weights.p = weights.p_rows = arena.take<float>(kScores);
    weights.ds = weights.ds_rows = weights.ds_pairs = arena.take<float>(kScores);
  } else {
    weights.p_rows = arena.take<typename Dot::Unit>(kScores / 2);
    weights.ds_rows = arena.take<typename Dot::Unit>(kScores / 2);
  }
}

template <class Dot>
GradientWeights<Dot> allocate_shared(Arena& arena) {
  constexpr int kScores = kBlock * kRows;
  GradientWeights<Dot> shared = {};
  if constexpr (Dot::pack == 2) {
    shared.p = arena.take<float>(kScores);
    shared.ds = arena.take<float>(kScores);
    shared.ds_pairs = arena.take<typename Dot::Unit>(kScores / 2);
  }
  return shared;
}

template <class Dot>
void allocate_gradient(Arena& arena, const Gradient& g, GradientMemory<Dot>& memory) {
  const Problem& p = g.forward;
  GradientWork<Dot>& work = memory.work;
  memory.tiles = arena.take<GradientTile<Dot>>(gradient_tiles(p));
  const GradientWeights<Dot> shared = allocate_shared<Dot>(arena);
  for (int i = 0; i < gradient_tiles(p); ++i) {
    GradientTile<Dot> counted;  // where the arena only counts there is no tile
    GradientTile<Dot>& tile = memory.tiles == nullptr ? counted : memory.tiles[i];
    allocate_tile(arena, p, tile);
    allocate_weights(arena, shared, tile.weights);
  }
  allocate_block(arena, p, false, work.block);
  if (Dot::pack == 2) {
    work.paired_k = arena.take<char>(kBlock / 2 * padded_bytes(static_cast<int>(p.head_dim), 4));
  }
  if (p.softcap != 0.0f) work.cap_slope = arena.take<float>(kBlock * kRows);
  if (p.bias != nullptr) work.scratch = arena.take<float>(kBlock * kRows);
  work.out = arena.take<typename Dot::Unit>(p.value_dim / Dot::pack * kRows);
}

// The block's K as dQ wants it.
template <class Dot>
void prepare_k_values(GradientWork<Dot>& work, int count) {
  if constexpr (Dot::pack == 1) {
    __builtin_memcpy(work.k_values, work.block.k,
                     static_cast<std::size_t>(count) * sizeof work.k_values[0]);
  } else {
    pair_rows<Dot>(reinterpret_cast<const char* const*>(work.block.k), count,
                   static_cast<int>(work.context->problem.head_dim), work.paired_k, work.k_values);
  }
}

// First row, and first key, of a (sequence, kv head) in the sums.
inline std::int64_t first_row(const GradientCall& call, const Context& c) {
  return call.first_row[c.sequence.index] + c.kv_head * c.sequence.q_len * c.group;
}
inline std::int64_t first_key(const GradientCall& call, const Context& c) {
  return call.first_key[c.sequence.index] + c.kv_head * c.sequence.kv_len;
}

template <class Dot>
void add_tile(const GradientCall& call, const Context& c, const GradientTile<Dot>& tile) {
  const std::int64_t head_dim = c.problem.head_dim, first = first_row(call, c) + tile.rows.first;
  each_lane(tile.dq, static_cast<int>(head_dim), tile.rows.count, [&](int lane, const float* dq) {
    add_row(dq, head_dim, call.sums.dq + (first + lane) * head_dim);
  });
  if (call.sums.slopes != nullptr) add_row(tile.slopes, tile.rows.count, call.sums.slopes + first);
  if (call.sums.deltas == nullptr) return;
  __builtin_memcpy(call.sums.deltas + first, tile.delta,
                   static_cast<std::size_t>(tile.rows.count) * sizeof(float));
}

// Some tiles over the keys of their item.
template <class Dot>
void walk_gradient(const GradientCall& call, const WorkItem& item, GradientMemory<Dot>& memory,
                   int tiles) {
  GradientWork<Dot>& work = memory.work;
  const Context& c = *work.context;
  const TileRows& last = memory.tiles[tiles - 1].rows;
  WorkItem rows = item;
  rows.row_begin = memory.tiles[0].rows.first;
  KeyWalk walk = make_walk(c, rows, last.first + last.count - 1);
  const Source source = make_source(c);
  Place places[2];
  std::int64_t first = 0;
  int keys = walk.next(first, kBlock);
  find_rows(source, first, keys, places[0]);
  for (int turn = 0; keys > 0; turn ^= 1) {
    const Place& place = places[turn];
    keys = walk.next(first, kBlock);
    find_rows(source, first, keys, places[turn ^ 1]);
    work.prefetch = make_prefetch(source, places[turn ^ 1], 1, tiles * 2 * kBlock / kGroup);
    prepare_block(source, place, 0, false, work.block);
    prepare_k_values(work, place.count);
    for (int i = 0; i < tiles; ++i) advance_gradient(work, memory.tiles[i], place);
    const std::int64_t key = first_key(call, c) + place.first;
    advance_keys(work, memory.tiles, tiles, place.count, call.sums.dk + key * c.problem.head_dim,
                 call.sums.dv + key * c.problem.value_dim);
  }
}

template <class Dot>
void backward_item(const GradientCall& call, const WorkItem& item, std::byte* scratch) {
  const Gradient& g = *call.gradient;
  const Context c = gradient_context(call, item.sequence, item.kv_head);
  Arena arena = {scratch};
  GradientMemory<Dot> memory = {};
  memory.work.gradient = &g;
  memory.work.context = &c;
  memory.work.passes = make_passes(g.forward, cap_slope_pass);
  allocate_gradient(arena, g, memory);
  for (std::int64_t row = item.row_begin; row < item.row_end;) {
    int tiles = 0;
    for (; tiles < gradient_tiles(g.forward) && row < item.row_end; ++tiles, row += kRows) {
      const std::int64_t left = item.row_end - row;
      set_rows(c, memory.tiles[tiles].rows, row, static_cast<int>(left < kRows ? left : kRows));
      begin_tile(g, c, memory.tiles[tiles], memory.work.out);
    }
    walk_gradient(call, item, memory, tiles);
    for (int i = 0; i < tiles; ++i) add_tile(call, c, memory.tiles[i]);
  }
}

inline void backward(const GradientCall& call, const WorkItem& item, std::byte* scratch) {
#ifdef RAPT_CPU_BF16_DOT
  if (multiplies_bf16(call.gradient->forward)) return backward_item<Bf16Dot>(call, item, scratch);
#endif
  backward_item<F32Dot>(call, item, scratch);
}

template <class Dot>
std::size_t gradient_bytes(const Gradient& g) {
  Arena counter;
  GradientMemory<Dot> memory = {};
  allocate_gradient(counter, g, memory);
  return counter.used;
}

inline std::size_t gradient_scratch_bytes(const Gradient& g) {
#ifdef RAPT_CPU_BF16_DOT
  if (multiplies_bf16(g.forward)) return gradient_bytes<Bf16Dot>(g);
#endif
  return gradient_bytes<F32Dot>(g);
}

// A tile is turned into lanes for each segment of keys that it meets: at 1024 keys that costs 2% of
// the products, at 512 twice that (docs/lab/cpu_backward.md).
inline Grain gradient_grain(const Problem& p) {
  return {
      .rows = kRows * gradient_tiles(p), .block_kv = kBlock, .split_keys = 1024, .split_items = 64};
}

// A finished row: its sums, or zeros where there are none, times what was left to the end.
inline void write_gradient(const float* sums, float factor, DType dtype, int dim, void* to) {
  float row[kMaxDim] = {};
  for (int d = 0; d < dim && sums != nullptr; ++d) row[d] = sums[d] * factor;
  narrow_row(row, dim, dtype, to);
}

// dq, its padding rows as zeros.
inline void finish_queries(const GradientCall& call, const Context& c) {
  const Problem& p = c.problem;
  const RowTensor dq = {call.gradient->dq, p.dtype, static_cast<int>(p.head_dim)};
  const float* sums = call.sums.dq + first_row(call, c) * p.head_dim;
  for (std::int64_t row = 0; row < c.sequence.q_rows * c.group; ++row) {
    const bool used = row < c.sequence.q_len * c.group;
    write_gradient(used ? sums + row * p.head_dim : nullptr, p.scale, p.dtype, dq.dim,
                   dq.at(c, row));
  }
}

// dk or dv: every row of a dense cache, so that what no sequence uses is zero.
inline void finish_keys(const Context& c, const Rows& rows, std::int64_t dim, const float* sums,
                        float factor) {
  const Problem& p = c.problem;
  const Sequence& s = c.sequence;
  const bool dense = p.kv_offsets.data == nullptr;
  const std::int64_t begin = dense ? 0 : s.kv_token, end = dense ? p.kv_len : begin + s.kv_len;
  char* to =
      static_cast<char*>(rows.data) +
      (s.kv_batch * rows.batch_stride + c.kv_head * rows.head_stride) * element_bytes(p.dtype);
  for (std::int64_t token = begin; token < end; ++token) {
    const std::int64_t key = token - s.kv_token;
    const bool used = key >= 0 && key < s.kv_len;
    write_gradient(used ? sums + key * dim : nullptr, factor, p.dtype, static_cast<int>(dim),
                   to + token * rows.token_stride * element_bytes(p.dtype));
  }
}

inline void finish_gradient(const GradientCall& call, std::int64_t sequence, std::int64_t kv_head) {
  const Gradient& g = *call.gradient;
  const Problem& p = g.forward;
  const Context c = gradient_context(call, sequence, kv_head);
  const std::int64_t key = first_key(call, c);
  finish_queries(call, c);
  finish_keys(c, g.dk, p.head_dim, call.sums.dk + key * p.head_dim, p.scale);
  finish_keys(c, g.dv, p.value_dim, call.sums.dv + key * p.value_dim,
              256.0f / static_cast<float>(p.dropout_keep));
}

// Sums over the rows of a query head of one sequence, in order. A sink's probability is
// exp(sink - lse), and its score has no value behind it: d_sink = -p * delta.
struct HeadSums {
  double sink = 0, slope = 0;
};

inline HeadSums sum_head(const GradientCall& call, const Context& c, std::int64_t head) {
  const Gradient& g = *call.gradient;
  HeadSums sums;
  for (std::int64_t row = head % c.group; row < c.sequence.q_len * c.group; row += c.group) {
    if (g.d_slopes != nullptr) {
      sums.slope += static_cast<double>(call.sums.slopes[first_row(call, c) + row]);
    }
    const float lse = lse_of(c, row);
    if (g.d_sinks == nullptr || lse == -kInfinity) continue;
    const float sink = c.problem.sinks[head * c.problem.sinks_stride];
    sums.sink -= static_cast<double>(__builtin_expf(sink - lse) *
                                     call.sums.deltas[first_row(call, c) + row]);
  }
  return sums;
}

inline void finish_head(const GradientCall& call, std::int64_t head) {
  const Gradient& g = *call.gradient;
  const Problem& p = g.forward;
  HeadSums all;
  for (std::int64_t b = 0; b < p.batch; ++b) {
    const HeadSums one =
        sum_head(call, gradient_context(call, b, head / (p.q_heads / p.kv_heads)), head);
    all.sink += one.sink;
    all.slope += one.slope;
    if (g.d_slopes == nullptr || g.d_slopes_batch_stride == 0) continue;
    g.d_slopes[b * g.d_slopes_batch_stride + head * g.d_slopes_head_stride] =
        static_cast<float>(one.slope);
  }
  if (g.d_slopes != nullptr && g.d_slopes_batch_stride == 0) {
    g.d_slopes[head * g.d_slopes_head_stride] = static_cast<float>(all.slope);
  }
  if (g.d_sinks != nullptr) g.d_sinks[head * g.d_sinks_stride] = static_cast<float>(all.sink);
}

}  // namespace
}  // namespace rapt::cpu
