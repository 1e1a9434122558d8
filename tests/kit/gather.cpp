// SPDX-License-Identifier: Apache-2.0 OR MIT
// Layouts, read as rapt.h describes them.
#include "kit/gather.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kit/numbers.h"

namespace rapt::kit {
namespace {

using oracle::Array;
using oracle::Int;

bool given(const rapt_tensor& t) { return t.dtype != RAPT_NONE; }

// Integer n of a vector; 64 bits of it.
Int integer(const rapt_tensor& t, Int n) {
  const Int offset = n * t.strides[0];
  if (t.dtype == RAPT_INT64) return static_cast<const Int*>(t.data)[offset];
  return static_cast<Int>(load(t.data, t.dtype, offset));
}

bool ragged_q(const rapt_attention& p) { return p.ragged != nullptr; }
bool ragged_kv(const rapt_attention& p) { return p.ragged && given(p.ragged->kv_offsets); }

Int q_heads_of(const rapt_attention& p) { return p.q.shape[p.q.rank - 2]; }

// kv_heads and value_dim, wherever the layout keeps them.
Int kv_heads_of(const rapt_attention& p) {
  if (!p.pages) return p.k.shape[p.k.rank - 2];
  return p.k.shape[p.pages->layout == RAPT_PAGE_HEAD_DIM ? 2 : 1];
}

Int value_dim_of(const rapt_attention& p) { return p.out.shape[p.out.rank - 1]; }

// Where element d of (token, head) of one sequence's k or v is.
struct Place {
  const rapt_attention& p;
  const rapt_tensor& t;
  Int row = 0;    // dense: of the batch dimension
  Int first = 0;  // dense, ragged: token of key 0
  Int b = 0;

  [[nodiscard]] Int operator()(Int token, Int head, Int d) const {
    const Int* s = t.strides;
    if (ragged_kv(p)) return (first + token) * s[0] + head * s[1] + d * s[2];
    if (!p.pages) return row * s[0] + (first + token) * s[1] + head * s[2] + d * s[3];
    const rapt_tensor& table = p.pages->table;
    const Int page = static_cast<Int>(
        load(table.data, table.dtype,
             b * table.strides[0] + token / p.pages->page_size * table.strides[1]));
    const Int slot = token % p.pages->page_size;
    const Int start = page * s[0];
    if (t.rank == 5) {
      const Int x = t.shape[4];
      return start + head * s[1] + d / x * s[2] + slot * s[3] + d % x * s[4];
    }
    switch (p.pages->layout) {
      case RAPT_PAGE_HEAD_DIM:
        return start + slot * s[1] + head * s[2] + d * s[3];
      case RAPT_HEAD_PAGE_DIM:
        return start + head * s[1] + slot * s[2] + d * s[3];
      default:
        return start + head * s[1] + d * s[2] + slot * s[3];
    }
  }
};

Place place_of(const rapt_attention& p, const rapt_tensor& t, Int b) {
  Place place{p, t, b, 0, b};
  if (ragged_kv(p)) place.first = integer(p.ragged->kv_offsets, b);
  if (p.lengths && given(p.lengths->cache_row)) place.row = integer(p.lengths->cache_row, b);
  if (p.lengths && given(p.lengths->left_pad)) place.first = integer(p.lengths->left_pad, b);
  return place;
}

Array keys_of(const rapt_attention& p, const rapt_tensor& t, Int b, Int kv_len, Int dim) {
  const Place place = place_of(p, t, b);
  const Int heads = kv_heads_of(p);
  Array rows(static_cast<std::size_t>(kv_len * heads * dim));
  auto next = rows.begin();
  for (Int j = 0; j < kv_len; ++j) {
    for (Int h = 0; h < heads; ++h) {
      for (Int d = 0; d < dim; ++d) *next++ = load(t.data, t.dtype, place(j, h, d));
    }
  }
  return rows;
}

// Where (query, head, 0) of q, out or alike is.
Int q_place(const rapt_attention& p, const rapt_tensor& t, const Gathered& g, Int i, Int head) {
  if (ragged_q(p)) return (g.first_row + i) * t.strides[0] + head * t.strides[1];
  return g.sequence.index * t.strides[0] + i * t.strides[1] + head * t.strides[2];
}

void gather_lengths(const rapt_attention& p, Gathered& g) {
  oracle::Sequence& s = g.sequence;
  const Int b = s.index;
  if (ragged_q(p)) {
    g.first_row = integer(p.ragged->q_offsets, b);
    s.q_len = g.q_rows = integer(p.ragged->q_offsets, b + 1) - g.first_row;
  } else {
    s.q_len = g.q_rows = p.q.shape[1];
    if (p.lengths && given(p.lengths->q_len)) s.q_len = integer(p.lengths->q_len, b);
  }
  if (ragged_kv(p)) {
    const rapt_tensor& offsets = p.ragged->kv_offsets;
    s.kv_len = integer(offsets, b + 1) - integer(offsets, b);
    return;
  }
  s.kv_len = p.pages ? 0 : p.k.shape[1];
  if (p.lengths && given(p.lengths->kv_len)) s.kv_len = integer(p.lengths->kv_len, b);
  if (p.lengths && given(p.lengths->left_pad)) s.kv_len -= integer(p.lengths->left_pad, b);
}

void gather_positions(const rapt_attention& p, oracle::Sequence& s) {
  s.q_start = s.kv_len - s.q_len;
  if (!p.positions) return;
  if (given(p.positions->q_start)) s.q_start = integer(p.positions->q_start, s.index);
  if (given(p.positions->kv_start)) s.kv_start = integer(p.positions->kv_start, s.index);
}

// Strides in an array that holds a broadcast tensor's elements once; returns their number.
Int strides_once(const rapt_tensor& t, std::array<Int, 4>& strides) {
  Int stride = 1;
  for (int d = 3; d >= 0; --d) {
    const bool repeats = t.shape[d] == 1 || t.strides[d] == 0;
    strides[static_cast<std::size_t>(d)] = repeats ? 0 : stride;
    stride *= repeats ? 1 : t.shape[d];
  }
  return stride;
}

}  // namespace

std::int64_t batch_of(const rapt_attention& p) {
  return p.ragged ? p.ragged->q_offsets.shape[0] - 1 : p.q.shape[0];
}

oracle::Model gather_model(const rapt_attention& p) {
  oracle::Model m;
  m.q_heads = q_heads_of(p);
  m.kv_heads = kv_heads_of(p);
  m.head_dim = p.q.shape[p.q.rank - 1];
  m.value_dim = value_dim_of(p);
  m.scale = p.scale ? *p.scale : 1 / std::sqrt(static_cast<double>(m.head_dim));
  if (p.mask) {
    m.left = p.mask->left;
    m.right = p.mask->right;
    m.sink_tokens = p.mask->sink_tokens;
  }
  if (p.softcap) m.softcap = p.softcap->cap;
  if (p.alibi) {
    m.slopes = gather_heads(p.alibi->slopes);
    m.slope_strides = {p.alibi->slopes.rank == 2 ? m.q_heads : 0, 1};
  }
  if (p.bias) {
    m.bias = gather_like_bias(p.bias->bias);
    strides_once(p.bias->bias, m.bias_strides);
  }
  if (p.sinks) m.sinks = gather_heads(p.sinks->sinks);
  if (p.dropout) {
    m.dropout_keep = std::lround(256 * (1 - static_cast<double>(p.dropout->probability)));
    m.dropout_seed = p.dropout->seed;
    m.dropout_offset = p.dropout->offset;
  }
  return m;
}

Gathered gather(const rapt_attention& p, std::int64_t b) {
  Gathered g;
  g.sequence.index = b;
  gather_lengths(p, g);
  gather_positions(p, g.sequence);
  g.sequence.q = gather_rows(p, g, p.q);
  g.sequence.k = keys_of(p, p.k, b, g.sequence.kv_len, p.q.shape[p.q.rank - 1]);
  g.sequence.v = keys_of(p, p.v, b, g.sequence.kv_len, value_dim_of(p));
  return g;
}

oracle::Array gather_rows(const rapt_attention& p, const Gathered& g, const rapt_tensor& t) {
  const Int dim = t.shape[t.rank - 1];
  Array rows;
  rows.reserve(static_cast<std::size_t>(g.sequence.q_len * q_heads_of(p) * dim));
  for (Int i = 0; i < g.sequence.q_len; ++i) {
    for (Int h = 0; h < q_heads_of(p); ++h) {
      const Int offset = q_place(p, t, g, i, h);
      for (Int d = 0; d < dim; ++d) rows.push_back(load(t.data, t.dtype, offset + d));
    }
  }
  return rows;
}

oracle::Array gather_keys(const rapt_attention& p, const Gathered& g, const rapt_tensor& t) {
  return keys_of(p, t, g.sequence.index, g.sequence.kv_len, t.shape[t.rank - 1]);
}

oracle::Array gather_like_bias(const rapt_tensor& t) {
  std::array<Int, 4> to{};
  Array all(static_cast<std::size_t>(strides_once(t, to)));
  for (Int b = 0; b < t.shape[0]; ++b) {
    for (Int h = 0; h < t.shape[1]; ++h) {
      for (Int i = 0; i < t.shape[2]; ++i) {
        for (Int j = 0; j < t.shape[3]; ++j) {
          const Int from =
              b * t.strides[0] + h * t.strides[1] + i * t.strides[2] + j * t.strides[3];
          const Int index = b * to[0] + h * to[1] + i * to[2] + j * to[3];
          all[static_cast<std::size_t>(index)] = load(t.data, t.dtype, from);
        }
      }
    }
  }
  return all;
}

oracle::Array gather_heads(const rapt_tensor& t) {
  Array all;
  for (Int b = 0; b < (t.rank == 2 ? t.shape[0] : 1); ++b) {
    for (Int h = 0; h < t.shape[t.rank - 1]; ++h) {
      const Int offset = t.rank == 2 ? b * t.strides[0] + h * t.strides[1] : h * t.strides[0];
      all.push_back(load(t.data, t.dtype, offset));
    }
  }
  return all;
}

namespace {

Int lse_place(const rapt_attention& p, const Gathered& g, Int head, Int i) {
  const Int* s = p.lse.strides;
  return ragged_q(p) ? head * s[0] + (g.first_row + i) * s[1]
                     : g.sequence.index * s[0] + head * s[1] + i * s[2];
}

}  // namespace

oracle::Array gather_lse(const rapt_attention& p, const Gathered& g) {
  Array all;
  for (Int i = 0; i < g.sequence.q_len; ++i) {
    for (Int h = 0; h < q_heads_of(p); ++h) {
      all.push_back(load(p.lse.data, p.lse.dtype, lse_place(p, g, h, i)));
    }
  }
  return all;
}

oracle::Row gather_answer(const rapt_attention& p, const Gathered& g, std::int64_t head,
                          std::int64_t i) {
  oracle::Row row;
  row.lse = std::numeric_limits<double>::quiet_NaN();
  const Int offset = q_place(p, p.out, g, i, head);
  for (Int d = 0; d < value_dim_of(p); ++d) {
    row.out.push_back(load(p.out.data, p.out.dtype, offset + d));
  }
  if (!given(p.lse)) return row;
  row.lse = load(p.lse.data, p.lse.dtype, lse_place(p, g, head, i));
  return row;
}

}  // namespace rapt::kit
