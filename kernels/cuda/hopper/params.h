// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the Hopper forward is launched with. Read by the host's compiler and by NVRTC.
#pragma once
#include "../forward_params.h"
#include "../tensor_map.h"
#include "tile_order.h"

namespace rapt::kernels {

struct HopperParams {
  TensorMap q, out;  // {column, head of the group, token, kv head, batch}
  TensorMap k, v;    // {column, token, kv head, batch} or {column, slot, kv head, page}
  ForwardParams forward;
  TileOrder order;
  int q_box;    // query tokens of a box of q; 0: the map is empty
  int out_box;  // likewise of out
  int piece;    // rows of a box: a block of keys, or what of it lies in one page
};

}  // namespace rapt::kernels
