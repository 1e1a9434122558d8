// SPDX-License-Identifier: Apache-2.0 OR MIT
// The keys that an item must visit, block by block, each fetched while the one before it is at
// work.
#pragma once
#include "backend/cpu/source.h"

namespace rapt::cpu {
namespace {

// The keys of an item in blocks: what its rows' bands cover, and the sink tokens before it.
struct KeyWalk {
  Range ranges[2];
  int at = 0;

  // The next block's first key and size; 0 at the end.
  int next(std::int64_t& first, int block_keys) {
    while (at < 2 && ranges[at].begin >= ranges[at].end) ++at;
    if (at == 2) return 0;
    first = ranges[at].begin;
    const std::int64_t left = ranges[at].end - first;
    const int count = static_cast<int>(left < block_keys ? left : block_keys);
    ranges[at].begin += count;
    return count;
  }
};

inline Range intersect(const Range& a, const Range& b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

inline KeyWalk make_walk(const Context& c, const WorkItem& item, std::int64_t last_row) {
  const Range first = window_of(c, c.token(item.row_begin));
  const Range last = window_of(c, c.token(last_row));
  const Range keys = {item.kv_begin, item.kv_end};
  Range sinks = {0, c.band.sink_tokens < last.end ? c.band.sink_tokens : last.end};
  Range window = {first.begin, last.end};
  if (sinks.end >= window.begin) {
    window.begin = sinks.end > 0 ? 0 : window.begin;
    sinks.end = 0;
  }
  return {{intersect(sinks, keys), intersect(window, keys)}};
}

// Fetches `place` in even steps while the item's tiles go through the block before it.
inline Prefetch make_prefetch(const Source& source, const Place& place, int heads, int steps) {
  const int bytes = element_bytes(source.dtype);
  return {&place,
          source.k.head_stride,
          source.v.head_stride,
          source.k.dim_stride == 0 ? source.k.dim * bytes : 0,
          source.v.dim_stride == 0 ? source.v.dim * bytes : 0,
          heads,
          2 * place.count * heads,
          steps};
}

}  // namespace
}  // namespace rapt::cpu
