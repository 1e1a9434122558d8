// SPDX-License-Identifier: Apache-2.0 OR MIT
// The loaders' warps: one brings keys, one values, block by block from the last to the first, one
// the queries. Boxes by TMA where there are some, else rows by cp.async.
#pragma once
#include "../kit/tile_load.cuh"
#include "../kit/tma.cuh"
#include "shape.cuh"

namespace rapt::kernels {

// What the three have in common: tile after tile.
template <ForwardConfig C>
struct HopperLoader {
  const HopperParams& params;
  const HopperShared<C>& shared;
  RingPlace<HopperShape<C>::kTiles> place;

  template <class Load>
  __device__ __forceinline__ void each_tile(Load load) {
    for (;;) {
      place.wait_full(shared.tiles);
      const HopperTile<C>& tile = shared.tile(place.stage());
      if (tile.blocks == 0) return;
      load(tile);
      __syncwarp();
      if ((threadIdx.x & 31) == 0) ptx::mbarrier_arrive(shared.tiles.empty(place.stage()));
      ++place.steps;
    }
  }
};

// Rows into panels of 64 columns, then an arrival on `barrier`. Eight lanes bring a row's panel,
// four rows at a time; row(i, inside) says where row i begins, or anywhere and that it is zeros.
template <int rows, int panels, int panel_bytes, class Row>
__device__ __forceinline__ void load_rows(u32 to, int columns, u32 barrier, Row row) {
  const int lane = threadIdx.x & 31, chunk = lane & 7;
#pragma unroll 4
  for (int i = lane / 8; i < rows; i += 4) {
    bool inside;
    const u16* from = row(i, inside);
    const u32 at = to + i * 128 + (chunk ^ (i & 7)) * 16;
#pragma unroll
    for (int panel = 0; panel < panels; ++panel) {
      const int column = panel * 64 + chunk * 8;
      const bool valid = inside && column < columns;
      ptx::cp_async_16(at + panel * panel_bytes, from + (valid ? column : 0), valid ? 16 : 0);
    }
  }
  ptx::cp_async_wait_all();
  ptx::fence_async_shared();
  __syncwarp();
  if (lane == 0) ptx::mbarrier_arrive(barrier);
}

// Keys or values whose pages are too small for boxes.
template <ForwardConfig C, int panels>
__device__ __forceinline__ void load_slots(const HopperParams& params, const PagesParam& pages,
                                           const HopperTile<C>& tile, const Range& block, int dim,
                                           int first_column, u32 to, u32 barrier) {
  const ForwardParams& p = params.forward;
  const Sequence& s = tile.sequence;
  const KvSide<C> side = make_side<C>({}, pages, s, tile.work.kv_head, dim);
  load_rows<C.block_kv, panels, HopperShape<C>::kKvPanel>(
      to, dim - first_column, barrier, [&](int i, bool& inside) {
        inside = block.begin + i < block.end;
        return inside ? side.row(p, s, block.begin + i) + first_column : side.base;
      });
}

// Lanes bring a box each: a panel of 64 columns of a block of keys, or of its part in one page.
template <ForwardConfig C, int panels>
struct BoxLoad {
  static __device__ __forceinline__ void run(const HopperParams& params, const TensorMap& map,
                                             const HopperTile<C>& tile, const Range& block,
                                             int first_column, u32 to, u32 barrier) {
    const int boxes = C.block_kv / params.piece * panels, lane = threadIdx.x & 31;
    if (lane == 0) ptx::mbarrier_arrive_expect(barrier, panels * HopperShape<C>::kKvPanel);
    __syncwarp();
    for (int i = lane; i < boxes; i += 32) {
      const int panel = i % panels, row = i / panels * params.piece;
      const u32 at = to + panel * HopperShape<C>::kKvPanel + row * 128;
      box(params, map, tile, block, row, first_column + panel * 64, at, barrier);
    }
  }

  static __device__ __forceinline__ void box(const HopperParams& params, const TensorMap& map,
                                             const HopperTile<C>& tile, const Range& block, int row,
                                             int column, u32 to, u32 barrier) {
    const ForwardParams& p = params.forward;
    const Sequence& s = tile.sequence;
    const int key = block.begin + row;
    if constexpr (C.kv == KvKind::rows) {
      ptx::tma_load_4d(to, map, barrier, column, static_cast<int>(s.kv_token) + key,
                       tile.work.kv_head, static_cast<int>(s.kv_batch));
    } else {
      // Behind the last key there may be no page: zeros come from behind the cache.
      i64 page = p.pages;
      if (key < block.end) page = clamp(s.pages[key >> p.page_shift], 0, p.pages - 1);
      ptx::tma_load_4d(to, map, barrier, column, key & ((1 << p.page_shift) - 1), tile.work.kv_head,
                       static_cast<int>(page));
    }
  }
};

template <ForwardConfig C>
struct KeyLoader : HopperLoader<C> {
  static constexpr int kStages = HopperShape<C>::kStages;

  __device__ __forceinline__ void run() {
    RingPlace<kStages> k;
    this->each_tile([&](const HopperTile<C>& tile) {
      for (int i = tile.blocks - 1; i >= 0; --i) {
        k.wait_empty(this->shared.k);
        load(tile, tile.block(i), this->shared.k_tile(k.stage()), this->shared.k.full(k.stage()));
        ++k.steps;
      }
    });
  }

  __device__ __forceinline__ void load(const HopperTile<C>& tile, const Range& block, u32 to,
                                       u32 full) const {
    constexpr int kPanels = HopperShape<C>::kQPanels;
    const ForwardParams& p = this->params.forward;
    if constexpr (C.kv == KvKind::slots) {
      load_slots<C, kPanels>(this->params, p.k_pages, tile, block, p.head_dim, 0, to, full);
    } else {
      BoxLoad<C, kPanels>::run(this->params, this->params.k, tile, block, 0, to, full);
    }
  }
};

template <ForwardConfig C>
struct ValueLoader : HopperLoader<C> {
  using Shape = HopperShape<C>;
  static constexpr int kPanels = Shape::kVPanels;

  u32 mend_phase;

  __device__ __forceinline__ void run() {
    RingPlace<Shape::kStages> v;
    this->each_tile([&](const HopperTile<C>& tile) {
      for (int i = tile.blocks - 1; i >= 0; --i) {
        v.wait_empty(this->shared.v);
        load(tile, tile.block(i), v.stage());
        ++v.steps;
      }
    });
  }

  __device__ __forceinline__ void load(const HopperTile<C>& tile, const Range& block, int stage) {
    const u32 to = this->shared.v_tile(stage), full = this->shared.v.full(stage);
    const Range safe = block.end <= tile.walk.sinks.end ? tile.walk.sinks : tile.safe;
    const bool mend = block.begin < safe.begin || block.begin + C.block_kv > safe.end;
    const u32 barrier = mend ? this->shared.mended : full;
    const int column = tile.work.value_chunk * C.value_dim;
    if constexpr (C.kv == KvKind::slots) {
      const ForwardParams& p = this->params.forward;
      load_slots<C, kPanels>(this->params, p.v_pages, tile, block, p.value_dim, column, to,
                             barrier);
    } else {
      BoxLoad<C, kPanels>::run(this->params, this->params.v, tile, block, column, to, barrier);
    }
    if (!mend) return;
    ptx::mbarrier_wait(barrier, mend_phase);
    mend_phase ^= 1;
    clear(to, safe.begin - block.begin, safe.end - block.begin);
    ptx::fence_async_shared();
    __syncwarp();
    if ((threadIdx.x & 31) == 0) ptx::mbarrier_arrive(full);
  }

  // Rows before `begin` and from `end` on: 0 * NaN is NaN, and what no query sees may be NaN.
  static __device__ __forceinline__ void clear(u32 tile, int begin, int end) {
    const int chunk = threadIdx.x & 7;
    for (int row = (threadIdx.x & 31) / 8; row < C.block_kv; row += 4) {
      if (row >= begin && row < end) continue;
#pragma unroll
      for (int panel = 0; panel < kPanels; ++panel) {
        const u32 to = tile + panel * Shape::kKvPanel + row * 128 + chunk * 16;
        asm volatile("st.shared.v4.b32 [%0], {%1, %1, %1, %1};" ::"r"(to), "r"(0) : "memory");
      }
    }
  }
};

// Queries, a warpgroup's 64 rows at a time. Row r is token r / group and head r % group: a box of
// `group` heads by 64 / group tokens where that divides, else chunk by chunk.
template <ForwardConfig C>
struct QueryLoader : HopperLoader<C> {
  using Shape = HopperShape<C>;

  __device__ __forceinline__ void run() {
    RingPlace<Shape::kQueries> q;
    this->each_tile([&](const HopperTile<C>& tile) {
      for (int group = 0; group < Shape::kGroups; ++group) {
        const Ring<Shape::kQueries> ring = this->shared.q(group);
        const u32 to = this->shared.q_tile(group, q.stage()), barrier = ring.full(q.stage());
        q.wait_empty(ring);
        if (this->params.q_box > 0) {
          load_boxes(tile, group, to, barrier);
        } else {
          load_chunks(tile, group, to, barrier);
        }
      }
      ++q.steps;
    });
  }

  // Rows outside the sequence are zeros or another sequence's: they are never written.
  __device__ __forceinline__ void load_boxes(const HopperTile<C>& tile, int group, u32 to,
                                             u32 barrier) const {
    const ForwardParams& p = this->params.forward;
    const int lane = threadIdx.x & 31;
    if (lane == 0) ptx::mbarrier_arrive_expect(barrier, Shape::kQGroup);
    __syncwarp();
    if (lane >= Shape::kQPanels) return;
    const Sequence& s = tile.sequence;
    const int token = (tile.first_row + 64 * group) / p.group;
    ptx::tma_load_5d(to + lane * Shape::kQPanel, this->params.q, barrier, lane * 64, 0,
                     static_cast<int>(s.q_token) + token, tile.work.kv_head,
                     static_cast<int>(s.q_batch));
  }

  // Zeros outside the sequence.
  __device__ __forceinline__ void load_chunks(const HopperTile<C>& tile, int group, u32 to,
                                              u32 barrier) const {
    const ForwardParams& p = this->params.forward;
    const Sequence& s = tile.sequence;
    const int first = tile.first_row + 64 * group;
    load_rows<64, Shape::kQPanels, Shape::kQPanel>(
        to, p.head_dim, barrier, [&](int i, bool& inside) {
          inside = first + i >= 0 && first + i < s.q_len * p.group;
          const i64 at = inside ? offset_of(p.q, s, place_of(p, tile.work.kv_head, first + i)) : 0;
          return static_cast<const u16*>(p.q.data) + at;
        });
  }
};

}  // namespace rapt::kernels
