// SPDX-License-Identifier: Apache-2.0 OR MIT
// Where results go: out and lse, or the partial rows of a split.
#pragma once
#include "rows.cuh"
#include "softmax.cuh"

namespace rapt::kernels {

// Lanes of a quad hold words w[0..3] of four blocks of 8 columns, a pair of columns a word; after
// it lane j holds the four words of block j.
__device__ __forceinline__ void transpose_quad(u32 (&w)[4]) {
  const u32 quad = 0xfu << (threadIdx.x & 28);
  const bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
  const u32 a = __shfl_xor_sync(quad, odd ? w[0] : w[1], 1);
  const u32 b = __shfl_xor_sync(quad, odd ? w[2] : w[3], 1);
  w[0] = odd ? a : w[0];
  w[1] = odd ? w[1] : a;
  w[2] = odd ? b : w[2];
  w[3] = odd ? w[3] : b;
  const u32 c = __shfl_xor_sync(quad, high ? w[0] : w[2], 2);
  const u32 d = __shfl_xor_sync(quad, high ? w[1] : w[3], 2);
  w[0] = high ? c : w[0];
  w[1] = high ? d : w[1];
  w[2] = high ? w[2] : c;
  w[3] = high ? w[3] : d;
}

// Writes columns col and col + 1 of a row of out.
template <ForwardConfig C>
__device__ __forceinline__ void store_pair(const ForwardParams& p, i64 row_offset, int col, float a,
                                           float b) {
  using N = Number<C.out_element>;
  auto* to = static_cast<typename N::Bits*>(p.out.data) + row_offset + col;
  if constexpr (!C.aligned) {
    to[0] = N::narrow(a);
    to[1] = N::narrow(b);
  } else if constexpr (C.out_element == Element::fp32) {
    *reinterpret_cast<float2*>(to) = make_float2(a, b);
  } else {
    *reinterpret_cast<u32*>(to) = pack2<C.out_element>(a, b);
  }
}

// One thread's part of one query row: `Columns` columns Fragment::col(c), in pairs. in_quads: as in
// an mma accumulator, whose quads can exchange them for 16 bytes a lane.
template <ForwardConfig C, class Fragment>
struct RowStore {
  const ForwardParams& p;
  const Sequence& s;
  const Work& work;
  bool leader;  // of the lanes that share the row: writes its lse

  // `row` counts within the sequence, `local` within the block. `reference` in units of scores.
  template <int Columns>
  __device__ __forceinline__ void write(int row, int local, float reference, float sum,
                                        const float (&o)[Columns]) const {
    if (row >= s.q_rows * p.group) return;
    if (row >= s.q_len * p.group) sum = 0.0f;  // padding behind the sequence
    if constexpr (C.split) {
      partial(local, reference, sum, o);
    } else {
      whole(row, reference, sum, o);
    }
  }

  template <int Columns>
  __device__ __forceinline__ void partial(int local, float reference, float sum,
                                          const float (&o)[Columns]) const {
    const i64 at = partial_row(p, work, block_q(C)) + local;
    if (leader && work.value_chunk == 0) {
      *reinterpret_cast<float2*>(p.partial_stats + 2 * at) = make_float2(reference, sum);
    }
#pragma unroll
    for (int c = 0; c < Columns; c += 2) {
      const int col = work.value_chunk * C.value_dim + Fragment::col(c);
      if (col >= p.value_dim) continue;
      *reinterpret_cast<float2*>(p.partial_out + at * p.value_dim + col) =
          make_float2(o[c], o[c + 1]);
    }
  }

  template <int Columns>
  __device__ __forceinline__ void whole(int row, float reference, float sum,
                                        const float (&o)[Columns]) const {
    const RowPlace at = place_of(p, work.kv_head, row);
    const float factor = end(at, reference, sum);
    // What a row that saw nothing has summed may be 0 * NaN.
    store(offset_of(p.out, s, at), sum != 0.0f, factor, o);
  }

  // Writes the lse; what the row's sums must be multiplied by.
  __device__ __forceinline__ float end(RowPlace at, float reference, float sum) const {
    const float unit = C.natural ? 1.0f : p.scale;
    const RowEnd end = end_row<C>(p, reference * unit, sum, at.head);
    if (leader && work.value_chunk == 0 && p.lse.data != nullptr) {
      static_cast<float*>(p.lse.data)[offset_of(p.lse, s, at)] = end.lse;
    }
    return end.factor;
  }

  template <int Columns>
  __device__ __forceinline__ void store(i64 row_offset, bool seen, float factor,
                                        const float (&o)[Columns]) const {
    const int first = work.value_chunk * C.value_dim;
    const auto value = [&](int c) { return seen ? o[c] * factor : 0.0f; };
    if constexpr (Fragment::in_quads && C.aligned && C.out_element != Element::fp32) {
#pragma unroll
      for (int c = 0; c < Columns; c += 8) {
        u32 w[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          w[i] = pack2<C.out_element>(value(c + 2 * i), value(c + 2 * i + 1));
        }
        transpose_quad(w);
        const int col = first + c * 4 + (threadIdx.x & 3) * 8;
        if (col >= p.value_dim) continue;
        u16* to = static_cast<u16*>(p.out.data) + row_offset + col;
        *reinterpret_cast<uint4*>(to) = make_uint4(w[0], w[1], w[2], w[3]);
      }
    } else {
#pragma unroll
      for (int c = 0; c < Columns; c += 2) {
        const int col = first + Fragment::col(c);
        if (col < p.value_dim) store_pair<C>(p, row_offset, col, value(c), value(c + 1));
      }
    }
  }
};

}  // namespace rapt::kernels
