// SPDX-License-Identifier: Apache-2.0 OR MIT
// The scheduler's warp: takes tile after tile, works out who sees what, and hands the others a
// record. The divisions and 64-bit sums of that would cost the warpgroups their registers.
#pragma once
#include "shape.cuh"

namespace rapt::kernels {

template <ForwardConfig C>
struct HopperScheduler {
  using Tile = HopperTile<C>;
  static constexpr int kRows = block_q(C);

  const HopperParams& params;
  const HopperShared<C>& shared;
  RingPlace<HopperShape<C>::kTiles> place;

  __device__ __forceinline__ void run() {
    const int ctas = static_cast<int>(gridDim.x), rounds = params.order.rounds(ctas);
    for (int n = 0; n < rounds; ++n) {
      const int index = params.order.index_of(n, static_cast<int>(blockIdx.x), ctas);
      if (index >= 0) offer(params.order.at(index));
    }
    place.wait_empty(shared.tiles);
    shared.tile(place.stage()).blocks = 0;
    publish();
  }

  __device__ __forceinline__ void offer(TileOrder::Place at) {
    const ForwardParams& p = params.forward;
    const Work work = work_of(p, at);
    const Sequence s = read_sequence(p, work.batch);
    const int rows = s.q_rows * p.group, tiles = (rows + kRows - 1) / kRows;
    if (work.tile >= tiles) return;
    place.wait_empty(shared.tiles);
    // The tile that is not full comes first: under a causal mask it sees the fewest keys. A split's
    // rows are where the combine looks for them.
    const int first_row = C.split ? work.tile * kRows : rows - (tiles - work.tile) * kRows;
    fill(shared.tile(place.stage()), work, s, first_row);
    publish();
  }

  static __device__ __forceinline__ Work work_of(const ForwardParams& p, TileOrder::Place at) {
    int rest = at.stream;
    const auto digit = [&](int base) {
      const int quotient = rest / base, remainder = rest - quotient * base;
      rest = quotient;
      return remainder;
    };
    Work w;
    w.tile = at.tile;
    w.value_chunk = digit(p.value_chunks);
    w.split = digit(p.splits);
    w.kv_head = digit(p.kv_heads);
    w.batch = rest;
    return w;
  }

  __device__ __forceinline__ void fill(Tile& tile, const Work& work, const Sequence& s,
                                       int first_row) const {
    const ForwardParams& p = params.forward;
    KeyWalk walk = keys_of<C>(p, s, work, first_row);
    // A box does not reach from page to page. (A walk of nothing stays one.)
    if (C.kv != KvKind::rows && walk.window.begin < walk.window.end) {
      walk.window.begin &= -params.piece;
    }
    const int blocks = walk.blocks(C.block_kv);
    const int lane = threadIdx.x & 31;
    if (lane == 0) {
      tile.work = work;
      tile.sequence = s;
      tile.walk = walk;
      tile.blocks = blocks > 0 ? blocks : 1;
      tile.first_row = first_row;
      tile.safe = safe_keys(s);
    }
    const int last = s.q_len > 0 ? s.q_len * p.group - 1 : 0;
    for (int i = lane; i < kRows; i += 32) {
      const int row = first_row + i < last ? first_row + i : last;
      tile.rows.set(p, s, i, place_of(p, work.kv_head, row > 0 ? row : 0));
    }
    __syncwarp();
    if (lane < Tile::kGroups) tile.whole[lane] = whole_blocks(walk, tile.rows, 64 * lane);
  }

  // Of 64 rows from `first` on. Windows move on with the rows. Blocks of attention sinks are few:
  // none of them counts.
  static __device__ __forceinline__ Range whole_blocks(const KeyWalk& walk,
                                                       const RowState<C, kRows>& rows, int first) {
    Range keys = walk.window;
    if constexpr (C.band) {
      keys = intersect(keys, {rows.window(first + 63).begin, rows.window(first).end});
    }
    const int sinks = walk.count(walk.sinks, C.block_kv), begin = walk.window.begin;
    return {sinks + (keys.begin - begin + C.block_kv - 1) / C.block_kv,
            sinks + (keys.end - begin) / C.block_kv};
  }

  // A dense tensor ends in zeros.
  __device__ __forceinline__ Range safe_keys(const Sequence& s) const {
    const ForwardParams& p = params.forward;
    Range seen = {0, s.kv_len};
    if constexpr (C.band) seen = make_walk(p, s, 0, s.q_len - 1, seen).window;
    const bool ends = C.kv == KvKind::rows && p.kv_offsets.kind == IndexKind::none &&
                      s.kv_token + seen.end == p.kv_len;
    return {seen.begin, ends ? 0x7fffffff : seen.end};
  }

  __device__ __forceinline__ void publish() {
    __syncwarp();
    if ((threadIdx.x & 31) == 0) ptx::mbarrier_arrive(shared.tiles.full(place.stage()));
    ++place.steps;
  }
};

}  // namespace rapt::kernels
