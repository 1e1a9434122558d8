// SPDX-License-Identifier: Apache-2.0 OR MIT
// Instructions, by their names with underscores and their operands in the order of the PTX ISA
// (9.0): translate.py makes calls of inline assembly. {a, b} is a Group, [a] is a.
#pragma once
#include <array>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "machine.h"
#include "products.h"
#include "tensor_map.h"

namespace rapt::emulator {

// Registers side by side.
template <class T, std::size_t N>
using Group = std::array<T*, N>;

template <class T, class... Others>
Group<T, 1 + sizeof...(Others)> group(T& first, Others&... others) {
  return {&first, &others...};
}

// 9.7.9.25.3 cp.async

inline void ptx_cp_async_cg_shared_global(u32 to, const void* from, int size, int bytes) {
  void* target = shared(to, 16);
  if (size != 16 || (reinterpret_cast<std::uintptr_t>(from) & 15) != 0) {
    fail("cp.async: 16 bytes from where none are aligned");
  }
  thread_copies().add([target, from, bytes] {
    if (bytes > 0) std::memcpy(target, from, static_cast<std::size_t>(bytes));
    std::memset(static_cast<char*>(target) + bytes, 0, static_cast<std::size_t>(16 - bytes));
  });
}
inline void ptx_cp_async_commit_group() { thread_copies().commit(); }
inline void ptx_cp_async_wait_group(int pending) {
  thread_copies().wait(static_cast<std::size_t>(pending));
}
inline void ptx_cp_async_wait_all() { thread_copies().finish(); }

// 9.7.15.5 Matrices of a warp

inline void ptx_ldmatrix_sync_aligned_m8n8_x4_shared_b16(Group<u32, 4> to, u32 row) {
  load_matrices(to.data(), row, false);
}
inline void ptx_ldmatrix_sync_aligned_m8n8_x4_trans_shared_b16(Group<u32, 4> to, u32 row) {
  load_matrices(to.data(), row, true);
}
inline void ptx_stmatrix_sync_aligned_m8n8_x4_shared_b16(u32 row, Group<const u32, 4> from) {
  store_matrices(row, from.data());
}
inline void ptx_mma_sync_aligned_m16n8k16_row_col_f32_bf16_bf16_f32(Group<float, 4> d,
                                                                    Group<const u32, 4> a,
                                                                    Group<const u32, 2> b,
                                                                    Group<const float, 4> c) {
  multiply_16x8x16(Half::bf16, d.data(), a.data(), b.data(), c.data());
}
inline void ptx_mma_sync_aligned_m16n8k16_row_col_f32_f16_f16_f32(Group<float, 4> d,
                                                                  Group<const u32, 4> a,
                                                                  Group<const u32, 2> b,
                                                                  Group<const float, 4> c) {
  multiply_16x8x16(Half::fp16, d.data(), a.data(), b.data(), c.data());
}

// 9.7.16 Matrices of a warpgroup: each of its warps has 16 of the 64 rows.

inline void ptx_wgmma_fence_sync_aligned() {
  meet("wgmma.fence", nullptr, [](void* const*) {});
}
inline void ptx_wgmma_commit_group_sync_aligned() {
  meet("wgmma.commit_group", nullptr, [](void* const*) { warp_products().commit(); });
}
inline void ptx_wgmma_wait_group_sync_aligned(int pending) {
  meet("wgmma.wait_group", &pending, [](void* const* operands) {
    warp_products().wait(static_cast<std::size_t>(*static_cast<int*>(operands[0])));
  });
}

// The N of the name comes first. Of the four immediates the first two negate.
template <std::size_t registers>
void ptx_wgmma_mma_async_sync_aligned_m64nNk16_f32_bf16_bf16(int n, Group<float, registers> d,
                                                             u64 a, u64 b, bool adds, int, int,
                                                             int a_turned, int b_turned) {
  multiply_64xN({Half::bf16, n, registers, adds, a_turned, b_turned, d.data(), nullptr, a, b});
}
template <std::size_t registers>
void ptx_wgmma_mma_async_sync_aligned_m64nNk16_f32_f16_f16(int n, Group<float, registers> d, u64 a,
                                                           u64 b, bool adds, int, int, int a_turned,
                                                           int b_turned) {
  multiply_64xN({Half::fp16, n, registers, adds, a_turned, b_turned, d.data(), nullptr, a, b});
}
template <std::size_t registers>
void ptx_wgmma_mma_async_sync_aligned_m64nNk16_f32_bf16_bf16(int n, Group<float, registers> d,
                                                             Group<const u32, 4> a, u64 b,
                                                             bool adds, int, int, int b_turned) {
  multiply_64xN({Half::bf16, n, registers, adds, 0, b_turned, d.data(), a.data(), 0, b});
}
template <std::size_t registers>
void ptx_wgmma_mma_async_sync_aligned_m64nNk16_f32_f16_f16(int n, Group<float, registers> d,
                                                           Group<const u32, 4> a, u64 b, bool adds,
                                                           int, int, int b_turned) {
  multiply_64xN({Half::fp16, n, registers, adds, 0, b_turned, d.data(), a.data(), 0, b});
}

inline void ptx_setmaxnreg_inc_sync_aligned_u32(int) {
  meet("setmaxnreg.inc", nullptr, [](void* const*) {});
}
inline void ptx_setmaxnreg_dec_sync_aligned_u32(int) {
  meet("setmaxnreg.dec", nullptr, [](void* const*) {});
}

// 9.7.13 Barriers

inline void ptx_bar_sync(int id, int threads) { barrier_sync(id, threads); }
inline void ptx_bar_arrive(int id, int threads) { barrier_arrive(id, threads); }

inline void ptx_mbarrier_init_shared_cta_b64(u32 barrier, int arrivals) {
  mbarrier_init(barrier, arrivals);
}
inline void ptx_mbarrier_arrive_shared_cta_b64(std::nullptr_t, u32 barrier) {
  mbarrier_arrive(barrier, 0);
}
inline void ptx_mbarrier_arrive_expect_tx_shared_cta_b64(std::nullptr_t, u32 barrier, u32 bytes) {
  mbarrier_arrive(barrier, bytes);
}
inline void ptx_mbarrier_try_wait_parity_shared_cta_b64(bool& passed, u32 barrier, u32 parity) {
  passed = mbarrier_passed(barrier, parity);
}

// Writes are seen at once here.
inline void ptx_fence_mbarrier_init_release_cluster() {}
inline void ptx_fence_proxy_async_shared_cta() {}

// 9.7.9.27 Boxes of tensors

inline void ptx_cp_async_bulk_tensor_4d_shared_cluster_global_mbarrier_complete_tx_bytes(
    u32 to, const void* map, Group<const int, 4> at, u32 barrier) {
  load_box(to, map, {*at[0], *at[1], *at[2], *at[3]}, barrier);
}
inline void ptx_cp_async_bulk_tensor_5d_shared_cluster_global_mbarrier_complete_tx_bytes(
    u32 to, const void* map, Group<const int, 5> at, u32 barrier) {
  load_box(to, map, {*at[0], *at[1], *at[2], *at[3], *at[4]}, barrier);
}
inline void ptx_cp_async_bulk_tensor_5d_global_shared_cta_bulk_group(const void* map,
                                                                     Group<const int, 5> at,
                                                                     u32 from) {
  store_box(map, {*at[0], *at[1], *at[2], *at[3], *at[4]}, from);
}
inline void ptx_cp_async_bulk_commit_group() { thread_stores().commit(); }
inline void ptx_cp_async_bulk_wait_group_read(int pending) {
  thread_stores().wait(static_cast<std::size_t>(pending));
}

// 9.7.13 Sums and turns in global memory: one thread runs at a time, and one CTA after another.

inline void ptx_red_global_add_f32(float* to, float x) { *to += x; }
inline void ptx_red_global_add_v4_f32(float* to, Group<const float, 4> x) {
  if ((reinterpret_cast<std::uintptr_t>(to) & 15) != 0)
    fail("red: 16 bytes where none are aligned");
  for (std::size_t i = 0; i < 4; ++i) to[i] += *x[i];
}
inline void ptx_atom_global_add_u32(u32& before, u32* counter, u32 x) {
  before = *counter;
  *counter += x;
}
inline void ptx_ld_acquire_gpu_global_u32(u32& x, const u32* from) { x = *from; }
inline void ptx_st_release_gpu_global_u32(u32* to, u32 x) { *to = x; }

// Numbers and plain memory

inline void ptx_ex2_approx_ftz_f32(float& y, float x) { y = std::exp2(x); }
inline void ptx_setp_ne_b32(bool& p, int a, int b) { p = a != b; }

inline void ptx_cvt_rn_bf16_f32(u16& to, float from) { to = narrow(Half::bf16, from); }
inline void ptx_cvt_rn_f16_f32(u16& to, float from) { to = narrow(Half::fp16, from); }
inline void ptx_cvt_f32_f16(float& to, u16 from) { to = widen(Half::fp16, from); }
// The first source is the high half.
inline void ptx_cvt_rn_bf16x2_f32(u32& to, float high, float low) {
  to = u32{narrow(Half::bf16, high)} << 16 | narrow(Half::bf16, low);
}
inline void ptx_cvt_rn_f16x2_f32(u32& to, float high, float low) {
  to = u32{narrow(Half::fp16, high)} << 16 | narrow(Half::fp16, low);
}

template <class T>
void ptx_st_shared_v4_b32(u32 to, Group<T, 4> from) {
  auto* words = static_cast<u32*>(shared(to, 16));
  for (std::size_t i = 0; i < 4; ++i) words[i] = static_cast<u32>(*from[i]);
}

}  // namespace rapt::emulator
