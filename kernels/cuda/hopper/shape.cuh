// SPDX-License-Identifier: Apache-2.0 OR MIT
// Who does what in a CTA of the Hopper forward, and where it lies in shared memory.
#pragma once
#include "../kit/barrier.cuh"
#include "../kit/rows.cuh"
#include "budget.h"
#include "params.h"

namespace rapt::kernels {

// A tile of query rows as the scheduler hands it to the other roles.
template <ForwardConfig C>
struct HopperTile {
  static constexpr int kGroups = hopper_groups(C);

  Work work;
  Sequence sequence;
  KeyWalk walk;
  int blocks;     // at least 1; 0 says that there are no more tiles
  int first_row;  // may be negative: tiles are counted from a sequence's end
  Range safe;  // keys whose values may be multiplied by 0: some query sees them, or none are there
  Range whole[kGroups];  // blocks of which every row of a warpgroup sees every key
  RowState<C, block_q(C)> rows;

  __device__ __forceinline__ Range block(int i) const { return walk.at(i, C.block_kv); }
};

template <ForwardConfig C>
struct HopperShape {
  static constexpr int kGroups = hopper_groups(C), kThreads = hopper_threads(C);
  static constexpr HopperRoom kRoom = hopper_room(C);
  static constexpr int kStages = kHopperStages, kTiles = kRoom.tiles, kQueries = kRoom.queries;
  static constexpr bool kStaged = kRoom.staged != 0;
  static constexpr bool kTurns = hopper_takes_turns(C);
  // 64 K registers: a few for those who only move things, the others' share in steps of 8.
  static constexpr int kMoverRegisters = kGroups == 3 ? 32 : 40;
  static constexpr int kMathRegisters = kGroups == 3 ? 160 : 232;

  static constexpr int kQPanels = panels(C.head_dim), kVPanels = panels(C.value_dim);
  static constexpr int kQPanel = panel_bytes(64), kKvPanel = panel_bytes(C.block_kv);
  static constexpr int kQGroup = kQPanels * kQPanel;  // 64 rows of queries
  static constexpr int kKBytes = kQPanels * kKvPanel, kVBytes = kVPanels * kKvPanel;

  static constexpr int kKAt = kQueries * kGroups * kQGroup;
  static constexpr int kVAt = kKAt + kStages * kKBytes;
  static constexpr int kOutAt = kVAt + kStages * kVBytes;
  static constexpr int kOutWarp = kVPanels * panel_bytes(16);
  static constexpr int kTilesAt = kOutAt + (kStaged ? hopper_out_bytes(C) : 0);
  static constexpr int kBarriersAt = kTilesAt + kTiles * hopper_tile_bytes(C);
  static_assert(sizeof(HopperTile<C>) <= hopper_tile_bytes(C));
};

// The shared memory of a CTA: tiles, and the rings between roles.
template <ForwardConfig C>
struct HopperShared {
  using Shape = HopperShape<C>;

  unsigned char* bytes;  // on 1024
  u32 base;
  Ring<Shape::kStages> k, v;
  Ring<Shape::kTiles> tiles;
  u32 q_barriers;
  u32 mended;  // V that must be cleared of what no query sees has come

  __device__ __forceinline__ explicit HopperShared(unsigned char* bytes)
      : bytes(bytes), base(ptx::shared_address(bytes)) {
    k = {base + Shape::kBarriersAt};
    v = {k.barriers + k.kBytes};
    tiles = {v.barriers + v.kBytes};
    q_barriers = tiles.barriers + tiles.kBytes;
    mended = q_barriers + 16 * Shape::kGroups * Shape::kQueries;
  }

  // Queries of a warpgroup.
  __device__ __forceinline__ Ring<Shape::kQueries> q(int group) const {
    return {q_barriers + 16 * Shape::kQueries * group};
  }
  __device__ __forceinline__ u32 q_tile(int group, u32 stage) const {
    return base + (stage * Shape::kGroups + group) * Shape::kQGroup;
  }
  __device__ __forceinline__ u32 k_tile(u32 stage) const {
    return base + Shape::kKAt + stage * Shape::kKBytes;
  }
  __device__ __forceinline__ u32 v_tile(u32 stage) const {
    return base + Shape::kVAt + stage * Shape::kVBytes;
  }
  // 16 rows of output of a warp that multiplies.
  __device__ __forceinline__ u32 out_tile(int warp) const {
    return base + Shape::kOutAt + warp * Shape::kOutWarp;
  }
  __device__ __forceinline__ HopperTile<C>& tile(u32 slot) const {
    return *reinterpret_cast<HopperTile<C>*>(bytes + Shape::kTilesAt + slot * hopper_tile_bytes(C));
  }

  // By one thread. Consumers arrive once a warp.
  __device__ __forceinline__ void init() const {
    k.init(1, 4 * Shape::kGroups);
    v.init(1, 4 * Shape::kGroups);
    tiles.init(1, 4 * Shape::kGroups + 3);  // and the three loaders
    for (int i = 0; i < Shape::kGroups; ++i) q(i).init(1, 4);
    ptx::mbarrier_init(mended, 1);
    ptx::fence_mbarrier_init();
  }
};

}  // namespace rapt::kernels
