// SPDX-License-Identifier: Apache-2.0 OR MIT
// Rows of 16-bit elements from global to shared memory, swizzled so that ldmatrix reads without
// bank conflicts: 16-byte chunk c of row r stands at chunk c ^ (r mod 8) of its row.
#pragma once
#include "kv_source.cuh"
#include "ptx.cuh"
#include "rows.cuh"

namespace rapt::kernels {

// Elements of a row of a tile in shared memory: whole groups of 8 chunks, which the swizzle
// permutes.
constexpr int row_pitch(int dim) { return (dim + 63) / 64 * 64; }

// Byte offset of chunk `chunk` of row `row`.
template <int pitch>
__device__ __forceinline__ u32 chunk_offset(int row, int chunk) {
  return static_cast<u32>(row * pitch * 2 + (chunk ^ (row & 7)) * 16);
}

// One lane's row of a tile as ldmatrix reads it, from chunk `odd` (0 or 1) on in steps of two
// chunks: the swizzle is then one exclusive or, of which there are four different ones. The tile
// begins on 128 bytes.
template <int pitch>
struct LaneRow {
  u32 at;

  __device__ __forceinline__ LaneRow(u32 tile, int row, int odd)
      : at(tile + static_cast<u32>(row * pitch * 2 + (odd ^ (row & 7)) * 16)) {}

  // Two chunks a step; `rows` (a multiple of 8) further down.
  __device__ __forceinline__ u32 address(int step, int rows = 0) const {
    return (at ^ static_cast<u32>(step % 4 * 32)) +
           static_cast<u32>(step / 4 * 128 + rows * pitch * 2);
  }
};

// Eight elements that fetch(i) names, as the 16 bytes of a chunk.
template <class Fetch>
__device__ __forceinline__ void store_chunk(u32 to, Fetch fetch) {
  u32 w[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) w[i] = u32(fetch(2 * i)) | u32(fetch(2 * i + 1)) << 16;
  asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(w[0]), "r"(w[1]),
               "r"(w[2]), "r"(w[3])
               : "memory");
}

// Keys of `block` into `tile`, `columns` columns from `first_column` on; zeros behind the block's
// end and the row's. Asynchronous (a group is left to commit) where rows can be copied as they are.
template <ForwardConfig C, int columns, int threads>
struct KvLoad {
  static constexpr int kChunks = columns / 8;
  static constexpr int kPitch = row_pitch(columns);

  static __device__ __forceinline__ void run(const ForwardParams& p, const Sequence& s,
                                             const KvSide<C>& side, const Range& block,
                                             int first_column, u32 tile, int thread) {
    if constexpr (C.aligned && C.kv != KvKind::turned) {
      copy(p, s, side, block, first_column, tile, thread);
    } else {
      gather(p, s, side, block, first_column, tile, thread);
    }
  }

  static __device__ __forceinline__ void copy(const ForwardParams& p, const Sequence& s,
                                              const KvSide<C>& side, const Range& block,
                                              int first_column, u32 tile, int thread) {
    // Unrolled in full its addresses would spill at D128.
    for (int i = thread; i < C.block_kv * kChunks; i += threads) {
      const int row = i / kChunks, chunk = i % kChunks, key = block.begin + row;
      const bool valid = key < block.end && first_column + chunk * 8 < side.dim;
      const auto* from = side.row(p, s, key < block.end ? key : block.begin) + first_column;
      ptx::cp_async_16(tile + chunk_offset<kPitch>(row, chunk), from + (valid ? chunk * 8 : 0),
                       valid ? 16 : 0);
    }
  }

  // Neighbouring threads take neighbouring keys: where the head dimension is strided those lie side
  // by side.
  static __device__ __forceinline__ void gather(const ForwardParams& p, const Sequence& s,
                                                const KvSide<C>& side, const Range& block,
                                                int first_column, u32 tile, int thread) {
    for (int i = thread; i < C.block_kv * kChunks; i += threads) {
      const int row = i % C.block_kv, chunk = i / C.block_kv, key = block.begin + row;
      const int d = first_column + chunk * 8;
      const bool valid = key < block.end && d < side.dim;
      const auto* from = side.row(p, s, key < block.end ? key : block.begin);
      store_chunk(tile + chunk_offset<kPitch>(row, chunk),
                  [&](int j) { return valid ? side.element(from, d + j) : u16(0); });
    }
  }
};

// The block's query rows from `first` on; zeros behind the sequence's last.
template <ForwardConfig C, int threads>
__device__ __forceinline__ void load_queries(const ForwardParams& p, const Sequence& s,
                                             const Work& w, int first, u32 tile) {
  constexpr int kChunks = C.head_dim / 8, kPitch = row_pitch(C.head_dim);
  for (int i = threadIdx.x; i < block_q(C) * kChunks; i += threads) {
    const int local = i / kChunks, chunk = i % kChunks, row = first + local;
    const bool valid = row < s.q_len * p.group && chunk * 8 < p.head_dim;
    const i64 at = valid ? offset_of(p.q, s, place_of(p, w.kv_head, row)) + chunk * 8 : 0;
    const u16* from = static_cast<const u16*>(p.q.data) + at;
    const u32 to = tile + chunk_offset<kPitch>(local, chunk);
    if constexpr (C.aligned) {
      ptx::cp_async_16(to, from, valid ? 16 : 0);
    } else {
      store_chunk(to, [&](int j) { return valid ? from[j] : u16(0); });
    }
  }
}

}  // namespace rapt::kernels
