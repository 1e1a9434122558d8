// SPDX-License-Identifier: Apache-2.0 OR MIT
// How a backward is divided. Rows of a sequence are those of the forward, (token, head of the
// group), in tiles of block_q; keys stand in blocks of block_kv. A CTA owns a block of keys and
// visits the tiles that see any of it, from the last to the first: under a causal mask a block
// begins one step behind the block before it, and no turn is waited for longer than that.
#pragma once
#include "../backward_config.h"
#include "../backward_params.h"
#include "../kit/rows.cuh"
#include "../kit/turns.cuh"

namespace rapt::kernels {

// Place of a sequence's tiles among those of its kv head. Sequences may begin inside a tile, so
// each has one more than its rows would fill.
__device__ __forceinline__ i64 first_tile(const BackwardParams& p, const Sequence& s, int kv_head,
                                          int block_q) {
  const bool ragged = p.forward.q_offsets.kind != IndexKind::none;
  const i64 token = ragged ? s.q_token : i64(s.index) * p.forward.q_len;
  return kv_head * p.tiles + token * p.forward.group / block_q + s.index;
}

// Groups are seldom no power of two.
__device__ __forceinline__ int token_of(const BackwardParams& p, int row) {
  return p.group_shift >= 0 ? row >> p.group_shift : row / p.forward.group;
}

__device__ __forceinline__ RowPlace place_of(const BackwardParams& p, int kv_head, int row) {
  const int token = token_of(p, row), group = p.forward.group;
  return {token, kv_head * group + row - token * group};
}

// Keys that some query of the sequence sees. What lies outside is never read: it may be NaN, and
// dQ and dP multiply it by zeros.
struct SeenKeys {
  int begin, end, sinks;

  __device__ __forceinline__ bool has(int key) const {
    return key < end && (key >= begin || key < sinks);
  }
};

template <BackwardConfig C>
__device__ __forceinline__ SeenKeys seen_keys(const ForwardParams& p, const Sequence& s) {
  if constexpr (!C.band) return {0, s.kv_len, 0};
  if (s.q_len == 0) return {0, 0, 0};
  const Band band = band_of(p, s);
  const int end = band.at(s.q_len - 1).end;
  return {band.at(0).begin, end, static_cast<int>(clamp(p.sink_tokens, 0, end))};
}

// A block of keys, the tiles that see any of it, and its rank among the blocks that a tile sees.
struct BlockWalk {
  Range keys;
  Range tiles;
  Range whole;  // of them, those whose every row sees the whole block
  int block;
  int sink_blocks;   // all later tiles see these
  int window_begin;  // of token 0, before it is cut

  // Blocks before this one that visit a tile whose first token this is.
  template <int block_kv>
  __device__ __forceinline__ int rank(int token) const {
    const i64 first = (i64(window_begin) + token) / block_kv;
    const i64 skipped = first - sink_blocks;
    return block - static_cast<int>(block >= sink_blocks && skipped > 0 ? skipped : 0);
  }
};

// Tiles of tokens [first, last], whole or in part.
template <BackwardConfig C>
__device__ __forceinline__ Range tiles_with(i64 first, i64 last, int group) {
  return {static_cast<int>(first * group / C.block_q),
          static_cast<int>((last * group + group - 1) / C.block_q) + 1};
}

// Tiles of nothing but these tokens. What lies behind the sequence's last may count as one.
template <BackwardConfig C>
__device__ __forceinline__ Range tiles_within(i64 first, i64 last, int group) {
  return {static_cast<int>((first * group + C.block_q - 1) / C.block_q),
          static_cast<int>((last + 1) * group / C.block_q)};
}

// Rows are `group` a token.
template <BackwardConfig C>
__device__ inline BlockWalk walk_of(const ForwardParams& p, const Sequence& s, int block,
                                    int group) {
  BlockWalk walk = {};
  walk.block = block;
  walk.window_begin = -(1 << 30);  // without a mask it begins before every key
  const i64 begin = i64(block) * C.block_kv;
  if (begin >= s.kv_len) return walk;
  const i64 end = begin + C.block_kv < s.kv_len ? begin + C.block_kv : s.kv_len;
  walk.keys = {static_cast<int>(begin), static_cast<int>(end)};
  i64 first = 0, last = s.q_len - 1;  // tokens that see a key
  i64 whole_first = 0, whole_last = s.q_len - 1 + C.block_q;
  if constexpr (C.band) {
    const Band band = band_of(p, s);
    walk.window_begin = band.begin;
    walk.sink_blocks =
        static_cast<int>((clamp(p.sink_tokens, 0, s.kv_len) + C.block_kv - 1) / C.block_kv);
    first = clamp(begin + 1 - band.end, 0, s.q_len);
    if (begin >= p.sink_tokens) last = clamp(end - 1 - band.begin, -1, s.q_len - 1);
    whole_first = clamp(end - band.end, 0, s.q_len);
    if (end > p.sink_tokens) whole_last = clamp(begin - band.begin, -1, whole_last);
  }
  if (first <= last) walk.tiles = tiles_with<C>(first, last, group);
  if (end - begin == C.block_kv) walk.whole = tiles_within<C>(whole_first, whole_last, group);
  return walk;
}

// Writes two neighbouring elements; `aligned`: they lie on a whole access.
template <Element element, bool aligned>
__device__ __forceinline__ void store_pair(const RowsParam& to, i64 at, float a, float b) {
  using N = Number<element>;
  auto* place = static_cast<typename N::Bits*>(to.data) + at;
  if constexpr (!aligned) {
    place[0] = N::narrow(a);
    place[1] = N::narrow(b);
  } else if constexpr (element == Element::fp32) {
    *reinterpret_cast<float2*>(place) = make_float2(a, b);
  } else {
    *reinterpret_cast<u32*>(place) = pack2<element>(a, b);
  }
}

}  // namespace rapt::kernels
