// SPDX-License-Identifier: Apache-2.0 OR MIT
// Whole pages copied or cleared. Moves whose page ids are out of range are skipped.
#pragma once
#include "cache_config.h"
#include "cache_params.h"
#include "kit/pack.cuh"

namespace rapt::kernels {

template <MoveConfig C>
struct MovePages {
  using Unit = BitsOf<C.unit_bytes>;

  // Where one page is read and written.
  struct Page {
    const char* from;
    char* to;
  };

  // Block x of the grid is a move, block y a chunk of the page.
  static __device__ void run(const MoveParams& p) {
    constexpr u32 kChunk = kMoveThreads * kMoveLoads;
    const u32 page_units = static_cast<u32>(p.page_units);  // 2^31 at most
    for (i64 move = blockIdx.x; move < p.moves; move += gridDim.x) {
      Page page;
      if (!find_page(p, move, page)) continue;
      for (u32 first = blockIdx.y * kChunk; first < page_units; first += gridDim.y * kChunk) {
        move_chunk(p, page, first + threadIdx.x);
      }
    }
  }

  static __device__ __forceinline__ bool find_page(const MoveParams& p, i64 move, Page& page) {
    const i64 target = p.targets[move * p.index_stride];
    if (target < 0 || target >= p.to_pages) return false;
    page = {nullptr, static_cast<char*>(p.to) + target * p.to_page_stride};
    if constexpr (C.clear) return true;
    const i64 source = p.sources[move * p.index_stride];
    if (source < 0 || source >= p.from_pages) return false;
    page.from = static_cast<const char*>(p.from) + source * p.from_page_stride;
    return true;
  }

  static __device__ __forceinline__ void move_chunk(const MoveParams& p, const Page& page,
                                                    u32 first) {
    const u32 page_units = static_cast<u32>(p.page_units);
    Unit units[kMoveLoads] = {};
    char* to[kMoveLoads];
#pragma unroll
    for (int i = 0; i < kMoveLoads; ++i) {
      const u32 at = first + i * kMoveThreads;
      if (at >= page_units) continue;
      const Page place = place_of(p, page, at);
      to[i] = place.to;
      if constexpr (!C.clear) units[i] = *reinterpret_cast<const Unit*>(place.from);
    }
#pragma unroll
    for (int i = 0; i < kMoveLoads; ++i) {
      if (first + i * kMoveThreads < page_units) *reinterpret_cast<Unit*>(to[i]) = units[i];
    }
  }

  // Access `at` of a page, counted run by run.
  static __device__ __forceinline__ Page place_of(const MoveParams& p, Page page, u32 at) {
    if constexpr (C.strided) {
      const u32 run_units = static_cast<u32>(p.run_units);
      u32 rest = at / run_units;
      at -= rest * run_units;
      for (int d = p.outer - 1; d >= 0; --d) {
        const u32 size = static_cast<u32>(p.shape[d]), outer = rest / size;
        const i64 index = rest - outer * size;
        rest = outer;
        page.from += index * p.from_strides[d];
        page.to += index * p.to_strides[d];
      }
    }
    return {page.from + i64(at) * C.unit_bytes, page.to + i64(at) * C.unit_bytes};
  }
};

}  // namespace rapt::kernels
