// SPDX-License-Identifier: Apache-2.0 OR MIT
// The warpgroups that multiply: 64 rows each of a tile, all blocks of keys from the last to the
// first. One flat loop over the blocks of all tiles: the product with V of a block runs beside the
// softmax of the next, and a tile's rows are written behind the next tile's first scores.
#pragma once
#include "../kit/epilogue.cuh"
#include "../kit/features.cuh"
#include "../kit/fragment.cuh"
#include "../kit/tma.cuh"
#include "../kit/wgmma.cuh"
#include "shape.cuh"

namespace rapt::kernels {

// The rows of one thread in a tile's record.
template <ForwardConfig C>
struct TileRows {
  const HopperTile<C>* tile;
  int group;

  __device__ __forceinline__ int at(int r) const { return 64 * group + WgmmaLayout<C>::row(r); }
  __device__ __forceinline__ Range window(int r) const { return tile->rows.window(at(r)); }
  __device__ __forceinline__ float slope(int r) const { return tile->rows.slope(at(r)); }
  __device__ __forceinline__ i64 query(int r) const { return tile->rows.query(at(r)); }
  __device__ __forceinline__ i64 bias(int r) const { return tile->rows.bias(at(r)); }
  __device__ __forceinline__ u32 position(int r) const { return tile->rows.position(at(r)); }
  __device__ __forceinline__ u32 stream(int r) const { return tile->rows.stream(at(r)); }
};

template <ForwardConfig C>
struct HopperMath {
  using Shape = HopperShape<C>;
  using Tile = HopperTile<C>;
  using Layout = WgmmaLayout<C>;
  static constexpr int R = 2, K = Layout::keys, V = C.value_dim / 4;
  const HopperParams& params;
  const ForwardParams& p;
  const HopperShared<C>& shared;
  int group;  // of warps

  RingPlace<Shape::kStages> step;  // of keys; values are one behind
  RingPlace<Shape::kTiles> tiles;  // taken
  Range whole;                     // blocks of the tile that need no mask

  // Left as they are at the start: zeros would cost the first product's operand a spill.
  float o[R][V];                    // unnormalised
  float x[R][K];                    // scores, then probabilities
  u32 weights[C.block_kv / 16][4];  // the last block's probabilities, as an operand

  __device__ __forceinline__ HopperMath(const HopperParams& params, const HopperShared<C>& shared,
                                        int group)
      : params(params), p(params.forward), shared(shared), group(group) {}

  __device__ __forceinline__ void run() {
    const float exponent = C.natural ? kLog2E : p.scale * kLog2E;
    Softmax<Layout> softmax;
    if (group == Shape::kGroups - 1) pass_turn();
    bool first = true, adds = false;  // of its tile; to what o holds
    for (int i = take_tile(); i >= 0;) {
      await_operands(first);
      await_turn();
      ptx::wgmma_fence();
      multiply_keys();
      multiply_values(adds);
      pass_turn();
      ptx::wgmma_wait<1>();
      settle(x);
      release_keys(i == 0);
      const Softmax<Layout> ended = softmax;
      if (first) softmax = Softmax<Layout>();
      see(i);
      float factor[R];
      const bool raised = softmax.raise(x, exponent, factor);
      ptx::wgmma_wait<0>();
      settle(o);
      release_values();
      if (!first) {
        if (raised) rescale(factor);
      } else if (step.steps > 0) {
        write(tile_before(2), ended);
      }
      softmax.exponentiate(x, exponent);
      if constexpr (C.dropout) drop(i);
      pack();
      ++step.steps;
      adds = !first;
      first = i == 0;
      i = first ? take_tile() : i - 1;
    }
    if (step.steps == 0) return;
    before().wait_full(shared.v);
    ptx::wgmma_fence();
    multiply_values(adds);
    ptx::wgmma_wait<0>();
    settle(o);
    write(tile_before(2), softmax);
    ptx::bulk_wait_read();  // before shared memory goes
  }

  // Scores of block i: features, and the mask where it has an edge.
  __device__ __forceinline__ void see(int i) {
    const bool edge = i < whole.begin || i >= whole.end;
    if (!C.natural && !edge) return;
    const Tile& tile = tile_before(1);
    const TileRows<C> rows = {&tile, group};
    const Features<C, Layout, TileRows<C>> features = {p, tile.sequence, rows};
    features.scores(x, tile.block(i), edge);
  }

  __device__ __forceinline__ void drop(int i) {
    const Tile& tile = tile_before(1);
    const TileRows<C> rows = {&tile, group};
    const Features<C, Layout, TileRows<C>> features = {p, tile.sequence, rows};
    features.dropout(x, tile.block(i));
  }

  // Its last block; -1 where there are no more.
  __device__ __forceinline__ int take_tile() {
    tiles.wait_full(shared.tiles);
    ++tiles.steps;
    ptx::bulk_wait_read();  // the tile before the last has left; write_box() may come again
    const Tile& tile = tile_before(1);
    whole = {uniform(tile.whole[group].begin), uniform(tile.whole[group].end)};
    return uniform(tile.blocks) - 1;
  }

  // The tile taken last, or the one before it.
  __device__ __forceinline__ const Tile& tile_before(u32 n) const {
    return shared.tile(RingPlace<Shape::kTiles>{tiles.steps - n}.stage());
  }

  // From lane 0: only so does the compiler see that a warp's are the same, and keeps what follows
  // from them, branches too, out of the lanes.
  static __device__ __forceinline__ int uniform(int x) { return __shfl_sync(~0u, x, 0); }

  // The values that a step multiplies are those of the step before it.
  __device__ __forceinline__ RingPlace<Shape::kStages> before() const { return {step.steps - 1}; }

  __device__ __forceinline__ RingPlace<Shape::kQueries> queries() const {
    return {tiles.steps - 1};
  }

  __device__ __forceinline__ void await_operands(bool first) const {
    step.wait_full(shared.k);
    if (step.steps > 0) before().wait_full(shared.v);
    if (first) queries().wait_full(shared.q(group));
  }

  // Warpgroups issue their products in turn, so that one is at its softmax while another's products
  // run (FlashAttention-3's ping-pong).
  __device__ __forceinline__ void await_turn() const {
    if constexpr (Shape::kTurns) ptx::bar_sync(1 + group, 256);
  }
  __device__ __forceinline__ void pass_turn() const {
    if constexpr (Shape::kTurns) ptx::bar_arrive(1 + (group + 1) % Shape::kGroups, 256);
  }

  // x = Q K^T, under way.
  __device__ __forceinline__ void multiply_keys() {
    const PanelOperand a(shared.q_tile(group, queries().stage()));
    const PanelOperand b(shared.k_tile(step.stage()));
#pragma unroll
    for (int d = 0; d < C.head_dim / 16; ++d) {
      Wgmma<C.element, C.block_kv>::shared(x, a.at(d / 4 * Shape::kQPanel + d % 4 * 32),
                                           b.at(d / 4 * Shape::kKvPanel + d % 4 * 32), d > 0);
    }
    ptx::wgmma_commit();
  }

  // o = P V of the block before, or o + P V where it `adds`, under way. With nothing before, a
  // product of nothing that is forgotten: a branch around it would make ptxas serialise.
  __device__ __forceinline__ void multiply_values(bool adds) {
    const PanelOperand b(shared.v_tile(before().stage()), Shape::kKvPanel);
#pragma unroll
    for (int k = 0; k < C.block_kv / 16; ++k) {
      Wgmma<C.element, C.value_dim>::registers(o, weights[k], b.at(k * 16 * 128), k > 0 || adds);
    }
    ptx::wgmma_commit();
  }

  // One arrival a warp.
  static __device__ __forceinline__ void arrive(u32 barrier) {
    if ((threadIdx.x & 31) == 0) ptx::mbarrier_arrive(barrier);
  }

  __device__ __forceinline__ void release_keys(bool last) const {
    arrive(shared.k.empty(step.stage()));
    if (last) arrive(shared.q(group).empty(queries().stage()));
  }

  __device__ __forceinline__ void release_values() const {
    if (step.steps > 0) arrive(shared.v.empty(before().stage()));
  }

  __device__ __forceinline__ void rescale(const float (&factor)[R]) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < V; ++c) o[r][c] *= factor[r];
    }
  }

  __device__ __forceinline__ void pack() {
#pragma unroll
    for (int k = 0; k < C.block_kv / 16; ++k) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int c = 4 * k + i / 2 * 2;
        weights[k][i] = pack2<C.element>(x[i % 2][c], x[i % 2][c + 1]);
      }
    }
  }

  // Ends the tile's rows, and gives its record back.
  __device__ __forceinline__ void write(const Tile& tile, Softmax<Layout> softmax) {
    softmax.finish();
    const RowStore<C, Layout> store = {p, tile.sequence, tile.work, (threadIdx.x & 3) == 0};
    const int row = uniform(tile.first_row + 64 * group + (threadIdx.x & 127) / 32 * 16);
    if (Shape::kStaged && params.out_box > 0 && row >= 0) {
      write_box(store, row, softmax);
    } else {
      write_rows(store, tile.first_row, softmax);
    }
    __syncwarp();
    arrive(shared.tiles.empty(RingPlace<Shape::kTiles>{tiles.steps - 2}.stage()));
  }

  __device__ __forceinline__ void write_rows(const RowStore<C, Layout>& store, int first_row,
                                             const Softmax<Layout>& softmax) const {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int local = 64 * group + Layout::row(r), row = first_row + local;
      if (row >= 0) store.write(row, local, softmax.reference[r], softmax.sum[r], o[r]);
    }
  }

  // Sixteen rows of a warp through shared memory, as one box a panel. All are the sequence's: tiles
  // end where it does.
  __device__ __forceinline__ void write_box(const RowStore<C, Layout>& store, int row,
                                            const Softmax<Layout>& softmax) {
    const int lane = threadIdx.x & 31;
    bool seen[R];
    float factor[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int mine = row + Layout::row(r) % 16;
      const float sum = mine < store.s.q_len * p.group ? softmax.sum[r] : 0.0f;
      seen[r] = sum != 0.0f;
      factor[r] = store.end(place_of(p, store.work.kv_head, mine), softmax.reference[r], sum);
    }
    const u32 tile = shared.out_tile(4 * group + (threadIdx.x & 127) / 32);
    const u32 to = tile + lane % 16 * 128 + ((lane / 16) ^ (lane & 7)) * 16;
#pragma unroll
    for (int n = 0; n < C.value_dim / 16; ++n) {
      u32 w[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int r = i % 2, c = 4 * n + i / 2 * 2;
        w[i] = pack2<C.out_element>(seen[r] ? o[r][c] * factor[r] : 0.0f,
                                    seen[r] ? o[r][c + 1] * factor[r] : 0.0f);
      }
      ptx::stmatrix_x4((to ^ (n % 4 * 32)) + n / 4 * panel_bytes(16), w);
    }
    ptx::fence_async_shared();
    __syncwarp();
    store_box(store, row / p.group, tile);
  }

  __device__ __forceinline__ void store_box(const RowStore<C, Layout>& store, int token,
                                            u32 tile) const {
    const int chunk = store.work.value_chunk * C.value_dim;
#pragma unroll
    for (int panel = 0; panel < Shape::kVPanels; ++panel) {
      ptx::tma_store_5d((threadIdx.x & 31) == 0, params.out, tile + panel * panel_bytes(16),
                        chunk + panel * 64, 0, static_cast<int>(store.s.q_token) + token,
                        store.work.kv_head, static_cast<int>(store.s.q_batch));
    }
    ptx::bulk_commit();
  }
};

}  // namespace rapt::kernels
