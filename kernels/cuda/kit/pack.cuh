// SPDX-License-Identifier: Apache-2.0 OR MIT
// Elements side by side: in one access where memory is aligned to all of them, else one by one.
#pragma once
#include "types.cuh"

namespace rapt::kernels {

// What is only moved, by its size.
template <int bytes>
struct Moved;
template <>
struct Moved<1> {
  using Bits = unsigned char;
};
template <>
struct Moved<2> {
  using Bits = u16;
};
template <>
struct Moved<4> {
  using Bits = u32;
};
template <>
struct Moved<8> {
  using Bits = u64;
};
template <>
struct Moved<16> {
  using Bits = uint4;
};
template <int bytes>
using BitsOf = typename Moved<bytes>::Bits;

template <typename Bits, int N>
struct alignas(sizeof(Bits) * N) Pack {
  Bits at[N];
};

template <bool aligned, int N, typename Bits>
__device__ __forceinline__ Pack<Bits, N> load_pack(const Bits* from) {
  using Elements = Pack<Bits, N>;
  if constexpr (aligned) {
    return __builtin_bit_cast(Elements, *reinterpret_cast<const BitsOf<sizeof(Elements)>*>(from));
  } else {
    Elements pack;
#pragma unroll
    for (int i = 0; i < N; ++i) pack.at[i] = from[i];
    return pack;
  }
}

template <bool aligned, int N, typename Bits>
__device__ __forceinline__ void store_pack(Bits* to, const Pack<Bits, N>& pack) {
  using Whole = BitsOf<sizeof(pack)>;
  if constexpr (aligned) {
    // A plain store is at times taken apart again.
    __stwb(reinterpret_cast<Whole*>(to), __builtin_bit_cast(Whole, pack));
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) to[i] = pack.at[i];
  }
}

}  // namespace rapt::kernels
