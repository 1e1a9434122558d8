// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which scores a thread of a matrix product holds: x[r][c] is row row(r), key key(c) of a block
// (PTX ISA 9.0, 9.7.15.5.8; the accumulators of wgmma, 9.7.16.5.1.1, are alike but for the rows).
#pragma once
#include "../forward_config.h"

namespace rapt::kernels {

// Four lanes share a row, and hold two columns of every eight.
template <ForwardConfig C>
struct QuadLayout {
  static constexpr int keys = C.block_kv / 4;
  static constexpr int lanes = 4;
  static constexpr bool in_quads = true;
  static constexpr bool exact = false;

  static __device__ __forceinline__ int col(int c) { return lane_key() + key_offset(c); }
  static __device__ __forceinline__ int key(int c) { return col(c); }
  static __device__ __forceinline__ int lane_key() { return (threadIdx.x & 3) * 2; }
  static constexpr int key_offset(int c) { return c / 2 * 8 + (c & 1); }
  static __device__ __forceinline__ int lane_row() { return (threadIdx.x & 31) / 4; }
};

// A warp's rows: 16 for each of its fragments.
template <ForwardConfig C>
struct MmaLayout : QuadLayout<C> {
  static constexpr int rows = 2 * C.row_frags;

  static __device__ __forceinline__ int row(int r) {
    return r / 2 * 16 + r % 2 * 8 + QuadLayout<C>::lane_row();
  }
};

// A warpgroup's 64 rows.
template <ForwardConfig C>
struct WgmmaLayout : QuadLayout<C> {
  static constexpr int rows = 2;

  static __device__ __forceinline__ int row(int r) {
    return (threadIdx.x & 127) / 32 * 16 + r * 8 + QuadLayout<C>::lane_row();
  }
};

}  // namespace rapt::kernels
