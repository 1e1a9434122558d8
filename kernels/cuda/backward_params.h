// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the kernels of a backward are launched with, all with the same. Read by the host's compiler
// and by NVRTC. Strides are in elements.
#pragma once
#include "forward_params.h"

namespace rapt::kernels {

// Of one row: what is subtracted from its scores, lse in the kernel's units, +infinity where the
// row is none or sees nothing; and rowsum(dO * O).
struct alignas(8) RowStats {
  float reference;
  float delta;
};

struct BackwardParams {
  ForwardParams forward;  // its division of the work is not used
  RowsParam d_out, dq, dk, dv;

  // Workspace. Tiles of a kv head follow each other, sequence by sequence (first_tile in
  // portable/backward_walk.cuh).
  float* dq_sums;        // [kv_heads, tiles, block_q, head_dim rounded up]
  RowStats* stats;       // [kv_heads, tiles, block_q]
  float* slope_sums;     // [kv_heads, tiles, block_q], where d_slopes is wanted
  unsigned int* turns;   // [kv_heads, tiles]: blocks of keys that have added to the tile
  unsigned int* ticket;  // blocks of keys begun

  long long tiles;    // of all sequences, of one kv head
  int most_tiles;     // of the longest sequence
  int key_blocks;     // of the longest sequence
  int group_shift;    // log2 of group; -1: no power of two
  float keep_factor;  // 256 / dropout_keep

  // Gradients that are not wanted are null.
  float* d_bias;
  long long d_bias_shape[4];
  long long d_bias_strides[4];  // 0: summed over
  float* d_sinks;
  long long d_sinks_stride;
  float* d_slopes;
  long long d_slopes_batch_stride;  // 0: summed over
  long long d_slopes_head_stride;
};

}  // namespace rapt::kernels
