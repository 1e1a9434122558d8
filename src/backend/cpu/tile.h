// SPDX-License-Identifier: Apache-2.0 OR MIT
// A tile: some query rows, what they have summed so far, and the online softmax (Milakov and
// Gimelshein, 2018; FlashAttention-2) over S^T, whose lanes are queries, so that no maximum or sum
// crosses lanes.
#pragma once
#include "backend/cpu/block.h"
#include "backend/cpu/micro.h"
#include "backend/cpu/passes.h"

namespace rapt::cpu {
namespace {

template <class Dot>
struct Tile {
  TileRows rows;
  // What is subtracted from a row's scores before the exponential: a maximum that may lag behind
  // the true one by kSlack, so that `out` is rescaled a few times a row and not once a block.
  alignas(64) float reference[kRows];
  alignas(64) float limit[kRows];  // a score above this raises the reference
  alignas(64) float sum[kRows];    // of exponentials
  typename Dot::Unit* q;           // in the shape's own order
  float* out;                      // unnormalised, in the shape's own order
};

constexpr float kSlack = 8.0f;  // in powers of two: probabilities stay below 2^8

// What all tiles of an item share: the current block and its scores.
template <class Dot>
struct Work {
  const Context* context;  // of the kv head at work
  PassList passes;
  bool dropout;
  Block<Dot> block;
  float* scores;              // [kBlock][kRows]
  float* scratch;             // [kBlock][kRows], where bias is on
  typename Dot::Unit* pairs;  // [kBlock / 2][kRows], Bf16Dot only
  Prefetch prefetch;
};

template <class Dot>
void reset_tile(Tile<Dot>& tile) {
  for (int i = 0; i < kRows; ++i) {
    tile.reference[i] = tile.limit[i] = -kInfinity;
    tile.sum[i] = 0.0f;
  }
}

// The segment's part of lane-wise maxima; NaN is left for the exponential to spread.
template <int N>
[[gnu::noinline]] void raise_maximum(const float* s, int keys, float* maximum) {
  F even[N], odd[N];  // two chains hide the latency
#pragma GCC unroll 4
  for (int v = 0; v < N; ++v) even[v] = odd[v] = Simd::load(maximum + v * kLanes);
  int key = 0;
  for (; key + 2 <= keys; key += 2, s += 2 * kRows) {
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
      even[v] = Simd::max(Simd::load(s + v * kLanes), even[v]);
      odd[v] = Simd::max(Simd::load(s + kRows + v * kLanes), odd[v]);
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < N; ++v) {
    if (key < keys) even[v] = Simd::max(Simd::load(s + v * kLanes), even[v]);
    Simd::store(maximum + v * kLanes, Simd::max(even[v], odd[v]));
  }
}

inline F or_zero(F reference) {
  return select(reference == Simd::set(-kInfinity), Simd::set(0.0f), reference);
}

// Scores become probabilities, in place (FP32) or as pairs of keys in `pairs`; sums grow
// block by block.
template <class Dot, int N>
[[gnu::noinline]] void exponentiate(float* s, typename Dot::Unit* pairs, int keys, float exponent,
                                    const float* reference, float* sums) {
  F from[N], sum[N];
  const F factor = Simd::set(exponent);
#pragma GCC unroll 4
  for (int v = 0; v < N; ++v) {
    from[v] = or_zero(Simd::load(reference + v * kLanes));
    sum[v] = Simd::set(0.0f);
  }
  for (int key = 0; key < keys; key += Dot::pack, s += Dot::pack * kRows, pairs += kRows) {
#pragma GCC unroll 4
    for (int v = 0; v < N; ++v) {
      const F p = exp2((Simd::load(s + v * kLanes) - from[v]) * factor);
      sum[v] = sum[v] + p;
      if constexpr (Dot::pack == 1) {
        Simd::store(s + v * kLanes, p);
      } else {
        F next = Simd::set(0.0f);
        if (key + 1 < keys) next = exp2((Simd::load(s + kRows + v * kLanes) - from[v]) * factor);
        sum[v] = sum[v] + next;
        Dot::store_pairs(pairs + v * kLanes, p, next);
      }
    }
  }
#pragma GCC unroll 4
  for (int v = 0; v < N; ++v) add_to(sums + v * kLanes, sum[v]);
}

// Probabilities in FP32 to pairs, where dropout came between.
template <class Dot>
void pack_pairs(const Segment& segment, const float* scores, typename Dot::Unit* pairs) {
  for (int key = segment.key_begin; key < segment.key_end; key += 2) {
    for (int v = segment.vector_begin; v < segment.vector_end; ++v) {
      const float* s = scores + key * kRows + v * kLanes;
      const bool last = key + 1 == segment.key_end;
      Dot::store_pairs(pairs + key / 2 * kRows + v * kLanes, Simd::load(s),
                       last ? Simd::set(0.0f) : Simd::load(s + kRows));
    }
  }
}

// Raises every row's reference to its maximum so far; `factors` = what `out` must be multiplied by.
template <class Dot>
void raise_reference(const Work<Dot>& work, Tile<Dot>& tile, const float* maximum, float* factors) {
  const F exponent = Simd::set(work.context->exponent);
  const F slack = Simd::set(kSlack / work.context->exponent);
  for (int i = 0; i < tile.rows.vectors * kLanes; i += kLanes) {
    const F before = Simd::load(tile.reference + i);
    const F now = Simd::max(Simd::load(maximum + i), before);
    const F factor = exp2((before - or_zero(now)) * exponent);
    Simd::store(factors + i, factor);
    Simd::store(tile.reference + i, now);
    Simd::store(tile.limit + i, now + slack);
    Simd::store(tile.sum + i, Simd::load(tile.sum + i) * factor);
  }
}

// Scores of one segment through the features and the mask, and into the maxima.
template <class Dot>
void score_segment(Work<Dot>& work, const Tile<Dot>& tile, const Segment& segment,
                   std::int64_t first_key, float* maximum) {
  const Patch patch = {*work.context, tile.rows, segment, first_key, work.scores, work.scratch};
  for (int i = 0; i < work.passes.count; ++i) work.passes.at[i](patch);
  if (segment.masked) mask_pass(patch);
  const int lane = segment.vector_begin * kLanes;
  with_vectors(segment.vector_end - segment.vector_begin, [&]<int N>() {
    raise_maximum<N>(work.scores + segment.key_begin * kRows + lane,
                     segment.key_end - segment.key_begin, maximum + lane);
  });
}

template <class Dot>
void exponentiate_segment(Work<Dot>& work, Tile<Dot>& tile, const Segment& segment,
                          std::int64_t first_key) {
  const int lane = segment.vector_begin * kLanes;
  const int keys = segment.key_end - segment.key_begin;
  float* s = work.scores + segment.key_begin * kRows + lane;
  const float exponent = work.context->exponent;
  with_vectors(segment.vector_end - segment.vector_begin, [&]<int N>() {
    if (Dot::pack == 1 || work.dropout) {
      exponentiate<F32Dot, N>(s, s, keys, exponent, tile.reference + lane, tile.sum + lane);
    } else {
      exponentiate<Dot, N>(s, work.pairs + segment.key_begin / Dot::pack * kRows + lane, keys,
                           exponent, tile.reference + lane, tile.sum + lane);
    }
  });
  if (!work.dropout) return;
  dropout_pass({*work.context, tile.rows, segment, first_key, work.scores, work.scratch});
  if constexpr (Dot::pack == 2) pack_pairs<Dot>(segment, work.scores, work.pairs);
}

// Probabilities of a key and lane 0 of the tile, as the register kernels want them.
template <class Dot>
const typename Dot::Unit* weights(const Work<Dot>& work, int key) {
  if constexpr (Dot::pack == 1) {
    return work.scores + key * kRows;
  } else {
    return work.pairs + key / 2 * kRows;
  }
}

// One tile against one block. Shape says how rows lie in q and out: lane_shape.h, row_shape.h.
template <class Shape, class Dot>
void advance(Work<Dot>& work, Tile<Dot>& tile, const Place& place) {
  const Segments segments = find_segments(*work.context, tile.rows, place.first, place.count);
  if (segments.count == 0) return;
  if (work.scratch != nullptr) {
    prefetch_bias(work.context->problem, tile.rows, place.first, place.count);
  }
  alignas(64) float maximum[kRows], factors[kRows];
  const int lanes = tile.rows.vectors * kLanes;
  for (int i = 0; i < lanes; ++i) maximum[i] = -kInfinity;
  for (int i = 0; i < segments.count; ++i) {
    Shape::scores(work, tile, segments.at[i]);
    score_segment(work, tile, segments.at[i], place.first, maximum);
  }
  bool grown = false;
  for (int i = 0; i < lanes; i += kLanes) {
    grown |= Simd::any_greater(Simd::load(maximum + i), Simd::load(tile.limit + i));
  }
  if (grown) {
    raise_reference(work, tile, maximum, factors);
    if (!planted(Plant::lost_rescale)) Shape::rescale(work, tile, factors);
  }
  for (int i = 0; i < segments.count; ++i) {
    exponentiate_segment(work, tile, segments.at[i], place.first);
  }
  Shape::values(work, tile, segments);
}

}  // namespace
}  // namespace rapt::cpu
