// SPDX-License-Identifier: Apache-2.0 OR MIT
// Threads and shared memory of a CTA of the Hopper forward. Read by the host's compiler and by
// NVRTC.
#pragma once
#include "../forward_config.h"

namespace rapt::kernels {

// Warpgroups that multiply, 64 rows each; one more moves.
constexpr int hopper_groups(const ForwardConfig& c) { return c.warps_q / 4; }
constexpr int hopper_threads(const ForwardConfig& c) { return 128 * (hopper_groups(c) + 1); }

constexpr int kHopperStages = 2;  // of keys, and of values; a third is not measured
constexpr int kHopperMostShared = 227 * 1024;

// Operands stand in panels of 64 columns, 128 bytes a row.
constexpr int panels(int dim) { return (dim + 63) / 64; }
constexpr int panel_bytes(int rows) { return rows * 128; }
constexpr int hopper_q_bytes(const ForwardConfig& c) {
  return panels(c.head_dim) * panel_bytes(block_q(c));
}
constexpr int hopper_kv_bytes(const ForwardConfig& c) {
  return (panels(c.head_dim) + panels(c.value_dim)) * panel_bytes(c.block_kv);
}
constexpr int hopper_out_bytes(const ForwardConfig& c) {
  return panels(c.value_dim) * panel_bytes(block_q(c));
}

// At most, of a tile's record: what concerns the tile, and what concerns each row.
constexpr int hopper_tile_bytes(const ForwardConfig& c) {
  const int row = (c.band != 0 ? 8 : 0) + (c.alibi != 0 ? 12 : 0) + (c.bias != 0 ? 8 : 0) +
                  (c.dropout != 0 ? 8 : 0);
  return 256 + row * block_q(c);
}

// Whether warpgroups take turns at the tensor cores: 2 to 6% where exponentials weigh most, nothing
// or a loss elsewhere.
constexpr bool hopper_takes_turns(const ForwardConfig& c) { return c.head_dim <= 64; }

// What a CTA has of each thing beside two stages of keys and values. More of them only buys time,
// at the edges of tiles, and is had where there is room.
struct HopperRoom {
  int tiles = 2;    // records: short tiles want them further ahead
  int queries = 1;  // tiles of queries: a second comes while the first is multiplied
  int staged = 0;   // output leaves through shared memory, a box at a time
  int bytes = 0;
};

constexpr HopperRoom hopper_room(const ForwardConfig& c, HopperRoom room) {
  // Rings' stages, each with two barriers, and one barrier more.
  const int rings = 2 * kHopperStages + room.tiles + room.queries * hopper_groups(c);
  room.bytes = room.queries * hopper_q_bytes(c) + kHopperStages * hopper_kv_bytes(c) +
               room.staged * hopper_out_bytes(c) + room.tiles * hopper_tile_bytes(c) + 16 * rings +
               8;
  return room;
}

constexpr HopperRoom hopper_room(const ForwardConfig& c) {
  const bool boxes = c.split == 0 && c.out_element != Element::fp32;
  HopperRoom best = hopper_room(c, HopperRoom{});
  const HopperRoom wishes[] = {{4, 1, 0}, {4, 1, boxes}, {4, 2, boxes}};
  for (const HopperRoom& wish : wishes) {
    const HopperRoom room = hopper_room(c, wish);
    if (room.bytes <= kHopperMostShared) best = room;
  }
  return best;
}

constexpr int hopper_shared_bytes(const ForwardConfig& c) { return hopper_room(c).bytes; }

}  // namespace rapt::kernels
