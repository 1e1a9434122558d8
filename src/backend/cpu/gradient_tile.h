// SPDX-License-Identifier: Apache-2.0 OR MIT
// The gradient of one tile of query rows against one block of keys (Dao, FlashAttention-2, 2023,
// algorithm 2). As in the forward, scores are S^T with queries in lanes:
//     P = exp(S - lse)   dP = dO V^T   dS = P * (dP - rowsum(dO * O))
//     dV += P^T dO       dK += dS^T Q  dQ += dS K
// Three of the five products are the forward's register kernels; the two that sum over queries take
// q and d_out as rows.
#pragma once
#include "backend/cpu/block.h"
#include "backend/cpu/lanes.h"
#include "backend/cpu/passes.h"

namespace rapt::cpu {
namespace {

// Tiles that share a block: their five operands and their weights in L2 beside the block, at D128
// in FP32 680 KB.
constexpr int kGradientTiles = 192 / kRows;
constexpr int kWideGradientTiles = 96 / kRows;

// Whole vectors of columns, as the sums over queries take them.
inline int padded_columns(std::int64_t dim) {
  return static_cast<int>((dim + kLanes - 1) / kLanes * kLanes);
}

// Weights of one tile and one block, as floats and as the products want them; of F32Dot the same
// memory.
template <class Dot>
struct GradientWeights {
  using Unit = typename Dot::Unit;
  float* p;        // [kBlock][kRows]: S, then P
  float* ds;       // [kBlock][kRows]: dP, then dS
  Unit* p_rows;    // [kBlock][unit of rows]
  Unit* ds_rows;   // [kBlock][unit of rows]
  Unit* ds_pairs;  // [unit of kBlock][kRows]
};

template <class Dot>
struct GradientTile {
  using Unit = typename Dot::Unit;
  TileRows rows;
  // What is subtracted from scores in their unit: lse. Infinite, so that P is 0, where a lane has
  // no row or its row sees nothing.
  alignas(64) float reference[kRows];
  alignas(64) float delta[kRows];   // rowsum(dO * O)
  alignas(64) float slopes[kRows];  // sum over keys of -dS * distance
  Unit* q;                          // [unit of head_dim][row]
  Unit* d_out;                      // [unit of value_dim][row]
  Unit* q_rows;                     // [vector of head_dim][unit of rows][lane]
  Unit* d_out_rows;                 // [vector of value_dim][unit of rows][lane]
  float* dq;                        // [head_dim][row]
  Segments segments;                // of the block at work
  GradientWeights<Dot> weights;     // of the block at work
};

// What the tiles of an item share.
template <class Dot>
struct GradientWork {
  using Unit = typename Dot::Unit;
  const Gradient* gradient;
  const Context* context;
  PassList passes;
  Block<Dot> block;
  const Unit* k_values[kBlock];  // K as dQ wants it: rows, or pairs along keys
  char* paired_k;
  float* cap_slope;  // [kBlock][kRows], where softcap is on
  float* scratch;    // [kBlock][kRows], where bias is on
  Unit* out;         // [unit of value_dim][kRows], while a tile begins
  Prefetch prefetch;
};

inline RowTensor d_out_of(const Gradient& g) {
  return {g.d_out, g.forward.out_dtype, static_cast<int>(g.forward.value_dim)};
}

inline float lse_of(const Context& c, std::int64_t row) {
  return static_cast<const float*>(c.problem.lse.data)[row_offset(c, c.problem.lse, row)];
}

// A tile's rows as units along columns, a vector of columns after the other, so that the rows of
// some vectors are one piece of memory and not the same few sets of L1. Zeros behind the last row
// and the last column.
template <class Dot>
void fill_rows(const Context& c, const TileRows& rows, const RowTensor& tensor,
               typename Dot::Unit* to) {
  using Unit = typename Dot::Unit;
  constexpr int kUnits = kRows / Dot::pack;
  float wide[Dot::pack][kMaxDim];
  alignas(64) Unit row[kMaxDim + kLanes] = {};
  for (int unit = 0; unit < rows.vectors * kLanes / Dot::pack; ++unit) {
    const int lane = unit * Dot::pack;
    if (lane >= rows.count) {
      __builtin_memset(row, 0, sizeof row);
    } else if constexpr (Dot::pack == 1) {
      __builtin_memcpy(row, row_units<Dot>(c, tensor, rows.first + lane, wide[0]),
                       static_cast<std::size_t>(tensor.dim) * sizeof(Unit));
    } else {
      const bool last = lane + 1 >= rows.count;
      Dot::interleave_rows(
          row_units<Dot>(c, tensor, rows.first + lane, wide[0]),
          last ? nullptr : row_units<Dot>(c, tensor, rows.first + lane + 1, wide[1]), tensor.dim,
          row);
    }
    for (int v = 0; v * kLanes < tensor.dim; ++v) {
      __builtin_memcpy(to + (v * kUnits + unit) * kLanes, row + v * kLanes, kLanes * sizeof(Unit));
    }
  }
}

// rowsum(dO * O), what the softmax takes off every dP: by the same operations in the same order as
// dP, so that nothing is left where O is one of the values.
template <class Dot>
void sum_deltas(const Context& c, GradientTile<Dot>& tile, typename Dot::Unit* out) {
  const std::int64_t units = c.problem.value_dim / Dot::pack;
  fill_lanes<Dot>(c, tile.rows, out_of(c.problem), out);
  for (int lane = 0; lane < tile.rows.vectors * kLanes; lane += kLanes) {
    F sum = Simd::set(0.0f);
    for (std::int64_t d = 0; d < units; ++d) {
      sum = Dot::multiply_add(Dot::load(tile.d_out + d * kRows + lane),
                              Dot::load(out + d * kRows + lane), sum);
    }
    Simd::store(tile.delta + lane, sum);
  }
}

// `out` is room for the tile's rows of it in lanes.
template <class Dot>
void begin_tile(const Gradient& g, const Context& c, GradientTile<Dot>& tile,
                typename Dot::Unit* out) {
  const Problem& p = c.problem;
  fill_lanes<Dot>(c, tile.rows, queries_of(p), tile.q);
  fill_lanes<Dot>(c, tile.rows, d_out_of(g), tile.d_out);
  fill_rows<Dot>(c, tile.rows, queries_of(p), tile.q_rows);
  fill_rows<Dot>(c, tile.rows, d_out_of(g), tile.d_out_rows);
  sum_deltas(c, tile, out);
  for (int lane = 0; lane < kRows; ++lane) {
    const bool real = lane < tile.rows.count;
    const float lse = real ? lse_of(c, tile.rows.first + lane) : -kInfinity;
    tile.reference[lane] = lse == -kInfinity ? kInfinity : lse / c.unit;
    tile.slopes[lane] = 0.0f;
    if (lse == -kInfinity) tile.delta[lane] = 0.0f;
  }
  __builtin_memset(tile.dq, 0, static_cast<std::size_t>(p.head_dim * kRows) * sizeof(float));
}

// 1 - tanh^2, seen while the scores are cap * tanh.
inline void cap_slope_pass(const Patch& patch) {
  const F inverse = Simd::set(1.0f / patch.context.problem.softcap), one = Simd::set(1.0f);
  for (int v = patch.segment.vector_begin; v < patch.segment.vector_end; ++v) {
    update_vector(patch, v, [&](int key, F s) {
      const F t = s * inverse;
      Simd::store(patch.cap_slope + key * kRows + v * kLanes, one - t * t);
      return s;
    });
  }
}

// d_bias += dS. Items that share elements of it are in different rounds.
inline void bias_gradient_pass(const Gradient& g, const Patch& ds) {
  const Segment& s = ds.segment;
  const int lanes = s.vector_end * kLanes, count = ds.rows.count;
  for (int lane = s.vector_begin * kLanes; lane < (lanes < count ? lanes : count); ++lane) {
    const std::int64_t row = ds.rows.first + lane, *stride = g.d_bias_strides;
    float* to = g.d_bias + ds.context.sequence.index * stride[0] +
                ds.context.head(row) * stride[1] + ds.context.token(row) * stride[2] +
                ds.first_key * stride[3];
    for (int key = s.key_begin; key < s.key_end; ++key) {
      to[key * stride[3]] += ds.scores[key * kRows + lane];
    }
  }
}

// A score falls by distance for each unit of slope.
inline void slope_gradient_pass(const Patch& ds, float* slopes) {
  for (int v = ds.segment.vector_begin; v < ds.segment.vector_end; ++v) {
    const F from = ahead_of_block(ds, v);
    F sum = Simd::set(0.0f);
    update_vector(ds, v, [&](int key, F x) {
      sum = sum - x * abs(from - Simd::set(static_cast<float>(key)));
      return x;
    });
    add_to(slopes + v * kLanes, sum);
  }
}

inline void cap_gradient_pass(const Patch& ds) {
  for (int v = ds.segment.vector_begin; v < ds.segment.vector_end; ++v) {
    update_vector(ds, v, [&](int key, F x) {
      return x * Simd::load(ds.cap_slope + key * kRows + v * kLanes);
    });
  }
}

// S and dP become P and dS, in place. `keep` undoes dropout's thinning of dP.
template <int N>
[[gnu::noinline]] void differentiate(float* s, float* dp, int keys, float exponent, float keep,
                                     const float* reference, const float* delta) {
  F from[N], off[N];
  const F factor = Simd::set(exponent), kept = Simd::set(keep);
#pragma GCC unroll 4
  for (int v = 0; v < N; ++v) {
    from[v] = Simd::load(reference + v * kLanes);
    off[v] = Simd::set(0.0f) - Simd::load(delta + v * kLanes);
  }
  for (int key = 0; key < keys; ++key, s += kRows, dp += kRows) {
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
      const F p = exp2((Simd::load(s + v * kLanes) - from[v]) * factor);
      Simd::store(s + v * kLanes, p);
      Simd::store(dp + v * kLanes, p * Simd::fma(Simd::load(dp + v * kLanes), kept, off[v]));
    }
  }
}

// Products come in groups of keys: those behind a segment's last weigh nothing.
inline int group_end(const Segment& s) { return (s.key_end + kGroup - 1) / kGroup * kGroup; }

inline void clear_tail(const Segment& s, float* weights) {
  for (int key = s.key_end; key < group_end(s); ++key) {
    for (int v = s.vector_begin; v < s.vector_end; ++v) {
      Simd::store(weights + key * kRows + v * kLanes, Simd::set(0.0f));
    }
  }
}

#ifdef RAPT_CPU_BF16_DOT
// P and dS, rounded, as the three products that sum over rows and keys want them.
inline void pack_weights(const GradientWeights<Bf16Dot>& w, const Segment& s) {
  constexpr int kRowUnits = kRows / 2, kLaneUnits = kLanes / 2;
  for (int key = s.key_begin; key < group_end(s); key += 2) {
    for (int v = s.vector_begin; v < s.vector_end; ++v) {
      const int at = key * kRows + v * kLanes, to = key * kRowUnits + v * kLaneUnits;
      const F even = Simd::load(w.ds + at), odd = Simd::load(w.ds + at + kRows);
      Bf16Dot::store_row(w.p_rows + to, Simd::load(w.p + at));
      Bf16Dot::store_row(w.p_rows + to + kRowUnits, Simd::load(w.p + at + kRows));
      Bf16Dot::store_row(w.ds_rows + to, even);
      Bf16Dot::store_row(w.ds_rows + to + kRowUnits, odd);
      Bf16Dot::store_pairs(w.ds_pairs + key / 2 * kRows + v * kLanes, even, odd);
    }
  }
}
#endif

// A segment's scores and dP through softmax and features, backwards.
template <class Dot>
void differentiate_segment(GradientWork<Dot>& work, GradientTile<Dot>& tile, const Segment& s,
                           std::int64_t first_key) {
  const Problem& p = work.context->problem;
  const Patch of_p = {*work.context, tile.rows,     s, first_key, tile.weights.p,
                      work.scratch,  work.cap_slope};
  const Patch of_ds = {*work.context, tile.rows,     s, first_key, tile.weights.ds,
                       nullptr,       work.cap_slope};
  const bool dropout = p.dropout_keep < 256;
  const int lane = s.vector_begin * kLanes, at = s.key_begin * kRows + lane;
  if (dropout) dropout_pass(of_ds);
  with_vectors(s.vector_end - s.vector_begin, [&]<int N>() {
    differentiate<N>(tile.weights.p + at, tile.weights.ds + at, s.key_end - s.key_begin,
                     work.context->exponent, 256.0f / static_cast<float>(p.dropout_keep),
                     tile.reference + lane, tile.delta + lane);
  });
  if (dropout) dropout_pass(of_p);
  if (work.gradient->d_bias != nullptr) bias_gradient_pass(*work.gradient, of_ds);
  if (work.gradient->d_slopes != nullptr) slope_gradient_pass(of_ds, tile.slopes);
  if (p.softcap != 0.0f) cap_gradient_pass(of_ds);
  clear_tail(s, tile.weights.p);
  clear_tail(s, tile.weights.ds);
#ifdef RAPT_CPU_BF16_DOT
  if constexpr (Dot::pack == 2) pack_weights(tile.weights, s);
#endif
}

inline void add_row(const float* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] += from[i];
}

// The query rows that weigh a group of keys: of a tile one segment at most.
template <class Dot>
struct KeySpans {
  int count = 0;
  RowSpan<Dot> at[kGradientTiles];
};

// `of` gives a tile's weights and the rows that they weigh.
template <class Dot, class Of>
void find_spans(const GradientTile<Dot>* tiles, int count, Of of,
                KeySpans<Dot> (&groups)[kBlock / kGroup]) {
  constexpr int kRowUnits = kRows / Dot::pack, kLaneUnits = kLanes / Dot::pack;
  for (const GradientTile<Dot>* tile = tiles; tile < tiles + count; ++tile) {
    const auto [weights, rows] = of(*tile);
    for (int i = 0; i < tile->segments.count; ++i) {
      const Segment& s = tile->segments.at[i];
      const int first = s.vector_begin * kLaneUnits, end = s.vector_end * kLaneUnits;
      for (int key = s.key_begin; key < s.key_end; key += kGroup) {
        KeySpans<Dot>& group = groups[key / kGroup];
        group.at[group.count++] = {weights + key * kRowUnits + first, rows + first * kLanes,
                                   end - first};
      }
    }
  }
}

// N vectors of columns of a group of keys, into the call's sums: directly where these are whole
// vectors, aligned ones, since sums end with the last key and column.
template <class Dot, int N>
void add_group(const KeySpans<Dot>& spans, int first, int keys, std::int64_t dim, float* sums) {
  const std::int64_t columns = dim - first * kLanes;
  sums += first * kLanes;
  if (keys >= kGroup && dim % kLanes == 0) {
    return key_group<Dot, N>(spans.at, spans.count, first, sums, dim);
  }
  alignas(64) float part[kGroup][N * kLanes] = {};
  key_group<Dot, N>(spans.at, spans.count, first, part[0], N * kLanes);
  for (int key = 0; key < (keys < kGroup ? keys : kGroup); ++key) {
    add_row(part[key], columns < N * kLanes ? columns : N * kLanes, sums + key * dim);
  }
}

// sums[key][column] += sum over all tiles' rows of weights[key][row] * rows[row][column]: sums are
// loaded and stored once for 192 rows. Columns outside, so that what they take of the rows stays in
// L1.
template <class Dot, class Of>
void add_keys(const GradientTile<Dot>* tiles, int count, int keys, std::int64_t dim, Of of,
              float* sums) {
  const int vectors = padded_columns(dim) / kLanes;
  KeySpans<Dot> groups[kBlock / kGroup];
  find_spans(tiles, count, of, groups);
  for (int v = 0; v < vectors;) {
    const int left = vectors - v,
              taken = left == 4 || left < kVectors ? (left < 2 ? 1 : 2) : kVectors;
    with_vectors(taken, [&]<int N>() {
      for (int key = 0; key < keys; key += kGroup) {
        const KeySpans<Dot>& spans = groups[key / kGroup];
        if (spans.count > 0) add_group<Dot, N>(spans, v, keys - key, dim, sums + key * dim);
      }
    });
    v += taken;
  }
}

// One tile's P and dS of a block, and its dQ.
template <class Dot>
void advance_gradient(GradientWork<Dot>& work, GradientTile<Dot>& tile, const Place& place) {
  const Problem& p = work.context->problem;
  tile.segments = find_segments(*work.context, tile.rows, place.first, place.count);
  for (int i = 0; i < tile.segments.count; ++i) {
    const Segment& s = tile.segments.at[i];
    score_lanes<Dot>(work.block.k, tile.q, p.head_dim / Dot::pack, s, tile.weights.p,
                     work.prefetch);
    score_lanes<Dot>(work.block.v, tile.d_out, p.value_dim / Dot::pack, s, tile.weights.ds,
                     work.prefetch);
    const Patch patch = {*work.context, tile.rows,     s, place.first, tile.weights.p,
                         work.scratch,  work.cap_slope};
    for (int pass = 0; pass < work.passes.count; ++pass) work.passes.at[pass](patch);
    if (s.masked) mask_pass(patch);
    differentiate_segment(work, tile, s, place.first);
  }
  add_values<Dot>(work.k_values, p.head_dim, tile.segments, tile.weights.ds_pairs, tile.dq);
}

// dV and dK of a block, of the tiles' rows; the sums are those of the block's first key.
template <class Dot>
void advance_keys(const GradientWork<Dot>& work, const GradientTile<Dot>* tiles, int count,
                  int keys, float* dk, float* dv) {
  struct Weighed {
    const typename Dot::Unit *weights, *rows;
  };
  const Problem& p = work.context->problem;
  add_keys(
      tiles, count, keys, p.value_dim,
      [](const GradientTile<Dot>& t) { return Weighed{t.weights.p_rows, t.d_out_rows}; }, dv);
  add_keys(
      tiles, count, keys, p.head_dim,
      [](const GradientTile<Dot>& t) { return Weighed{t.weights.ds_rows, t.q_rows}; }, dk);
}

}  // namespace
}  // namespace rapt::cpu
