// SPDX-License-Identifier: Apache-2.0 OR MIT
// The query rows of a tile, lane by lane: what the mask and the score features must know of each.
#pragma once
#include <cstdint>

#include "backend/cpu/context.h"
#include "backend/cpu/vec.h"

namespace rapt::cpu {
namespace {

// Rows behind the last stand in for it: they are computed and never written.
struct TileRows {
  std::int64_t first;         // row of the sequence that lane 0 carries
  int count;                  // rows that are real
  int vectors;                // lane vectors in use
  Range window[kRows];        // keys inside each row's band, sink tokens aside; never decreasing
  std::int64_t query[kRows];  // the row's token plus the diagonal: its place on the axis of keys
  const char* bias[kRows];    // bias row [kv_len]
  alignas(64) float slope[kRows];
  alignas(64) std::uint32_t position[kRows];  // low bits of the query's position, for dropout
  alignas(64) std::uint32_t stream[kRows];    // low bits of batch * q_heads + head, for dropout
};

inline const char* bias_row(const Context& c, std::int64_t head, std::int64_t token) {
  const Problem& p = c.problem;
  const std::int64_t at =
      c.sequence.index * p.bias_batch_stride + head * p.bias_head_stride + token * p.bias_q_stride;
  return static_cast<const char*>(p.bias) + at * (p.bias_dtype == DType::fp32 ? 4 : 2);
}

inline void set_row(const Context& c, TileRows& rows, int lane, std::int64_t row) {
  const Problem& p = c.problem;
  const std::int64_t token = c.token(row), head = c.head(row), batch = c.sequence.index;
  rows.window[lane] = window_of(c, token);
  rows.query[lane] = saturating_add(token, c.diagonal);
  rows.position[lane] = static_cast<std::uint32_t>(static_cast<std::uint64_t>(c.sequence.q_start) +
                                                   static_cast<std::uint64_t>(token));
  rows.stream[lane] = static_cast<std::uint32_t>(batch * p.q_heads + head);
  if (p.bias != nullptr) rows.bias[lane] = bias_row(c, head, token);
  if (p.alibi != nullptr) {
    rows.slope[lane] = p.alibi[batch * p.alibi_batch_stride + head * p.alibi_head_stride];
  }
}

inline void set_rows(const Context& c, TileRows& rows, std::int64_t first, int count) {
  rows.first = first;
  rows.count = count;
  rows.vectors = (count + kLanes - 1) / kLanes;
  for (int lane = 0; lane < rows.vectors * kLanes; ++lane) {
    set_row(c, rows, lane, first + (lane < count ? lane : count - 1));
  }
}

}  // namespace
}  // namespace rapt::cpu
