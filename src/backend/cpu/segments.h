// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which part of a block of keys a tile must compute. Past the edges of the band whole lane vectors
// drop out, so that a causal tile wastes half a vector of scores a row, not half a tile.
#pragma once
#include "backend/cpu/rows.h"

namespace rapt::cpu {
namespace {

constexpr int kBlock = 128;  // keys of a block; 64 and 96 are 1% slower (docs/lab/cpu_forward.md)
constexpr int kSegmentKeys = 8;  // segments begin on multiples of this within a block

// Keys [key_begin, key_end) of a block against lane vectors [vector_begin, vector_end).
struct Segment {
  int key_begin;
  int key_end;
  int vector_begin;
  int vector_end;
  bool masked;  // some of its scores lie outside the band
};

struct Segments {
  int count = 0;
  Segment at[kBlock / kSegmentKeys];
};

// The lane vectors that see any key of [begin, end), and whether all their lanes see all of them.
inline Segment classify(const Context& c, const TileRows& rows, std::int64_t begin,
                        std::int64_t end) {
  Segment s = {0, 0, 0, rows.vectors, false};
  const bool all_sink = end <= c.band.sink_tokens, any_sink = begin < c.band.sink_tokens;
  while (s.vector_begin < s.vector_end &&
         rows.window[(s.vector_begin + 1) * kLanes - 1].end <= begin) {
    ++s.vector_begin;
  }
  while (!any_sink && s.vector_end > s.vector_begin &&
         rows.window[(s.vector_end - 1) * kLanes].begin >= end) {
    --s.vector_end;
  }
  if (s.vector_begin == s.vector_end) return s;
  const bool left_edge = !all_sink && rows.window[s.vector_end * kLanes - 1].begin > begin;
  s.masked = left_edge || rows.window[s.vector_begin * kLanes].end < end;
  return s;
}

inline void append_segment(Segments& list, const Segment& s) {
  if (list.count > 0) {
    Segment& last = list.at[list.count - 1];
    if (last.key_end == s.key_begin && last.vector_begin == s.vector_begin &&
        last.vector_end == s.vector_end && last.masked == s.masked) {
      last.key_end = s.key_end;
      return;
    }
  }
  list.at[list.count++] = s;
}

// Segments of the block of `count` keys from key `first`.
inline Segments find_segments(const Context& c, const TileRows& rows, std::int64_t first,
                              int count) {
  Segments list;
  Segment whole = classify(c, rows, first, first + count);
  if (whole.vector_begin == whole.vector_end) return list;
  if (!whole.masked && whole.vector_begin == 0 && whole.vector_end == rows.vectors) {
    whole.key_end = count;
    append_segment(list, whole);
    return list;
  }
  for (int key = 0; key < count; key += kSegmentKeys) {
    const int end = key + kSegmentKeys < count ? key + kSegmentKeys : count;
    Segment s = classify(c, rows, first + key, first + end);
    s.key_begin = key;
    s.key_end = end;
    if (s.vector_begin < s.vector_end) append_segment(list, s);
  }
  return list;
}

}  // namespace
}  // namespace rapt::cpu
