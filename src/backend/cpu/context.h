// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a work item needs of its problem, resolved once: the kv head's group of query heads, the
// band, the unit of scores, and scratch memory.
#pragma once
#include <cstddef>
#include <cstdint>

#include "backend/cpu/kernel.h"
#include "band.h"
#include "problem.h"

namespace rapt::cpu {
namespace {

// Hands out 64-byte aligned pieces of one block; from a null block it only counts.
struct Arena {
  std::byte* base = nullptr;
  std::size_t used = 0;

  template <class T>
  T* take(std::int64_t count) {
    T* piece = base == nullptr ? nullptr : reinterpret_cast<T*>(base + used);
    used += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return piece;
  }
};

struct Context {
  const Problem& problem;
  const Sequence& sequence;
  std::int64_t kv_head;
  std::int64_t group;     // query heads that share the kv head
  std::int64_t diagonal;  // position of query 0 minus position of key 0
  Band band;
  // Scores are kept unscaled, and the scale left to the exponential, unless a feature wants them in
  // natural units. A score times `unit` is natural; exp(natural) = exp2(score * exponent).
  float unit;
  float exponent;

  std::int64_t head(std::int64_t row) const { return kv_head * group + row % group; }
  std::int64_t token(std::int64_t row) const { return row / group; }
};

inline bool wants_natural_scores(const Problem& p) {
  return p.softcap != 0.0f || p.alibi != nullptr || p.bias != nullptr || !(p.scale > 0.0f);
}

inline Context make_context(const ForwardCall& call, std::int64_t sequence, std::int64_t kv_head) {
  const Problem& p = *call.problem;
  const Sequence& s = call.sequences[sequence];
  const float unit = wants_natural_scores(p) ? 1.0f : p.scale;
  const std::int64_t diagonal =
      s.kv_start == INT64_MIN ? INT64_MAX : saturating_add(s.q_start, -s.kv_start);
  return {p,        s,
          kv_head,  p.q_heads / p.kv_heads,
          diagonal, {p.mask_left, p.mask_right, p.sink_tokens},
          unit,     unit * 1.44269504088896341f};
}

// Keys [begin, end).
struct Range {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

inline Range window_of(const Context& context, std::int64_t token) {
  const std::int64_t kv_len = context.sequence.kv_len;
  return {window_begin(context.band, token, context.diagonal, kv_len),
          window_end(context.band, token, context.diagonal, kv_len)};
}

}  // namespace
}  // namespace rapt::cpu
