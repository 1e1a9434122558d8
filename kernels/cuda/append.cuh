// SPDX-License-Identifier: Apache-2.0 OR MIT
// append: new tokens into a paged cache of any layout, keys and queries turned by RoPE on their
// way. A block of threads takes one of k, v and q of one token.
#pragma once
#include "cache_config.h"
#include "cache_params.h"
#include "kit/indices.cuh"
#include "kit/pack.cuh"

namespace rapt::kernels {

template <AppendConfig C>
struct Append {
  using Bits = BitsOf<C.bytes>;
  static constexpr int N = append_width(C);
  using Elements = Pack<Bits, N>;

  // One head of one token, written.
  struct Destination {
    Bits* data;
    i64 run_stride;
    int run_shift;

    __device__ __forceinline__ Bits* element(int d) const {
      return data + (d >> run_shift) * run_stride + (d & ((1 << run_shift) - 1));
    }
    // Elements [d, d + N); d is a multiple of N.
    __device__ __forceinline__ void store(int d, const Elements& elements) const {
      if ((1 << run_shift) >= N) {
        store_pack<C.aligned != 0>(element(d), elements);
      } else {
#pragma unroll
        for (int i = 0; i < N; ++i) *element(d + i) = elements.at[i];
      }
    }
  };

  static __device__ void run(const AppendParams& p) {
    const AppendSide& side = p.sides[blockIdx.y];
    for (i64 token = blockIdx.x; token < p.tokens; token += gridDim.x) {
      i64 place = token * side.to_token_stride;
      if (side.paged && !find_place(p, side, token, place)) continue;
      put_token(p, side, token, static_cast<Bits*>(side.to) + place);
    }
  }

  // False where the slot is none of the cache's.
  static __device__ __forceinline__ bool find_place(const AppendParams& p, const AppendSide& side,
                                                    i64 token, i64& place) {
    const i64 slot = p.slots[token * p.slots_stride];
    const i64 page = slot >> p.page_shift;
    if (slot < 0 || page >= p.pages) return false;
    place =
        page * side.to_page_stride + (slot & ((i64(1) << p.page_shift) - 1)) * side.to_token_stride;
    return true;
  }

  static __device__ __forceinline__ void put_token(const AppendParams& p, const AppendSide& side,
                                                   i64 token, Bits* to) {
    const float *cos = p.cos, *sin = p.sin;
    if constexpr (C.rope != RopeKind::none) {
      const i64 position = clamp(read_index(p.positions, token), 0, p.table_rows - 1);
      cos += position * p.cos_stride;
      sin += position * p.sin_stride;
    }
    const Bits* from = static_cast<const Bits*>(side.from) + token * side.from_token_stride;
    const u32 units = side.turned_units + side.copied_units;
    const u32 all_units = static_cast<u32>(side.heads) * units;
    for (u32 i = threadIdx.x; i < all_units; i += kAppendThreads) {
      const i64 head = i / units;
      const int unit = static_cast<int>(i % units);
      const Bits* row = from + head * side.from_head_stride;
      const Destination out = {to + head * side.to_head_stride, side.run_stride, side.run_shift};
      if (C.rope != RopeKind::none && unit < side.turned_units) {
        turn(row, out, unit * N, p.pairs, cos, sin);
      } else {
        const int d = side.copied_from + (unit - side.turned_units) * N;
        out.store(d, load_pack < C.aligned != 0, N > (row + d));
      }
    }
  }

  // `row` may be where `out` leads: elements are read before they are written.
  static __device__ __forceinline__ void turn(const Bits* row, const Destination& out, int d,
                                              int pairs, const float* cos, const float* sin) {
    Elements first = load_pack < C.aligned != 0, N > (row + d);
    if constexpr (C.rope == RopeKind::split) {
      Elements second = load_pack < C.aligned != 0, N > (row + d + pairs);
#pragma unroll
      for (int i = 0; i < N; ++i) turn_pair(first.at[i], second.at[i], cos[d + i], sin[d + i]);
      out.store(d + pairs, second);
    } else {
#pragma unroll
      for (int i = 0; i + 1 < N; i += 2) {
        turn_pair(first.at[i], first.at[i + 1], cos[(d + i) / 2], sin[(d + i) / 2]);
      }
    }
    out.store(d, first);
  }

  // Rounded after every step, never contracted: the CPU's bits.
  static __device__ __forceinline__ void turn_pair(Bits& a, Bits& b, float cos, float sin) {
    if constexpr (C.rope != RopeKind::none) {
      const float x = Number<C.element>::widen(a), y = Number<C.element>::widen(b);
      a = Number<C.element>::narrow(__fsub_rn(__fmul_rn(x, cos), __fmul_rn(y, sin)));
      b = Number<C.element>::narrow(__fadd_rn(__fmul_rn(y, cos), __fmul_rn(x, sin)));
    }
  }
};

}  // namespace rapt::kernels
