// SPDX-License-Identifier: Apache-2.0 OR MIT
// From rapt.h's structs to the oracle's plain arrays: the one place of the kit that knows layouts,
// offsets, pages and used lengths as a callee sees them.
#pragma once
#include <cstdint>
#include <vector>

#include "kit/oracle.h"
#include "rapt/rapt.h"

namespace rapt::kit {

std::int64_t batch_of(const rapt_attention& problem);

oracle::Model gather_model(const rapt_attention& problem);

// Lengths, positions, q, k and v of sequence b. `q_rows` rows of out belong to it, those behind
// q_len as padding.
struct Gathered {
  oracle::Sequence sequence;
  std::int64_t q_rows = 0;
  std::int64_t first_row = 0;  // ragged: its first token in q and out
};
Gathered gather(const rapt_attention& problem, std::int64_t b);

// out and lse of one query row as the call left them; lse NaN where none was asked for.
oracle::Row gather_answer(const rapt_attention& problem, const Gathered& from, std::int64_t head,
                          std::int64_t i);

// Rows of a tensor laid out as q (d_out, say) in the oracle's order: [q_len, q_heads, dim].
oracle::Array gather_rows(const rapt_attention& problem, const Gathered& from,
                          const rapt_tensor& like_q);

// The same of a tensor laid out as k: [kv_len, kv_heads, dim].
oracle::Array gather_keys(const rapt_attention& problem, const Gathered& from,
                          const rapt_tensor& like_k);
// lse as the call left it: [q_len, q_heads].
oracle::Array gather_lse(const rapt_attention& problem, const Gathered& from);
// A tensor shaped as the bias or the slopes, in the order of the oracle's model.
oracle::Array gather_like_bias(const rapt_tensor& like_bias);
oracle::Array gather_heads(const rapt_tensor& per_head);

}  // namespace rapt::kit
