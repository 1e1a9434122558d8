// SPDX-License-Identifier: Apache-2.0 OR MIT
// One block of keys and values as the register kernels want them: rows of units behind pointers.
#pragma once
#include "backend/cpu/source.h"

namespace rapt::cpu {
namespace {

// Copied rows stand 64 bytes further apart than they are long: at a power of two the rows of a
// column would share a few sets of the cache.
constexpr int kRowPadding = 64;

template <class Dot>
struct Block {
  using Unit = typename Dot::Unit;
  const Unit* k[kBlock + kGroup];  // key rows; the last again behind the end, to fill a group
  const Unit* v[kBlock + kGroup];  // value rows, likewise; or pairs of them
  // Copies, where they are needed; null elsewhere.
  char* turned_k;
  char* turned_v;
  char* ready_k;  // widened rows
  char* ready_v;  // widened rows, or rows of pairs
};

inline int padded_bytes(int elements, int bytes) { return elements * bytes + kRowPadding; }

// `paired`: V is wanted as pairs along keys (Bf16Dot with queries in lanes).
template <class Dot>
void allocate_block(Arena& arena, const Problem& p, bool paired, Block<Dot>& block) {
  const int bytes = element_bytes(p.dtype);
  const int head_dim = static_cast<int>(p.head_dim), value_dim = static_cast<int>(p.value_dim);
  const auto rows = [&](bool needed, int dim, int size) {
    return needed ? arena.take<char>(std::int64_t{kBlock} * padded_bytes(dim, size)) : nullptr;
  };
  const bool turned = p.page_size > 0 && p.page_layout >= RAPT_HEAD_DIM_PAGE;
  const bool widened = p.dtype != Dot::in_place;
  block.turned_k = rows(turned, head_dim, bytes);
  block.turned_v = rows(turned, value_dim, bytes);
  block.ready_k = rows(widened, head_dim, 4);
  block.ready_v = rows(widened || paired, value_dim, 4);
}

inline void widen_rows(const char* rows[], int count, DType dtype, int dim, char* to) {
  const int stride = padded_bytes(dim, 4);
  for (int key = 0; key < count; ++key, to += stride) {
    widen_row(rows[key], dtype, dim, reinterpret_cast<float*>(to));
    rows[key] = to;
  }
}

// Rows as pairs along keys, written to `to`.
template <class Dot>
void pair_rows(const char* const rows[], int count, int dim, char* to,
               const typename Dot::Unit* paired[]) {
  for (int key = 0; key < count; key += 2, to += padded_bytes(dim, 4)) {
    auto* pairs = reinterpret_cast<typename Dot::Unit*>(to);
    Dot::interleave_rows(rows[key], key + 1 < count ? rows[key + 1] : nullptr, dim, pairs);
    paired[key / 2] = pairs;
  }
}

// Rows of head `head` of those that the source begins with.
template <class Dot>
void prepare_block(const Source& source, const Place& place, int head, bool paired,
                   Block<Dot>& block) {
  using Unit = typename Dot::Unit;
  const int count = place.count, bytes = element_bytes(source.dtype);
  const char *k[kBlock], *v[kBlock];
  for (int key = 0; key < count; ++key) {
    k[key] = place.k[key] + head * source.k.head_stride;
    v[key] = place.v[key] + head * source.v.head_stride;
  }
  if (source.k.dim_stride != 0) {
    turn_rows(source, source.k, place, k, block.turned_k, padded_bytes(source.k.dim, bytes));
  }
  if (source.v.dim_stride != 0) {
    turn_rows(source, source.v, place, v, block.turned_v, padded_bytes(source.v.dim, bytes));
  }
  if (source.dtype != Dot::in_place) {
    widen_rows(k, count, source.dtype, source.k.dim, block.ready_k);
    widen_rows(v, count, source.dtype, source.v.dim, block.ready_v);
  }
  for (int key = 0; key < count + kGroup; ++key) {
    block.k[key] = reinterpret_cast<const Unit*>(k[key < count ? key : count - 1]);
  }
  if constexpr (Dot::pack == 2) {
    if (paired) return pair_rows<Dot>(v, count, source.v.dim, block.ready_v, block.v);
  }
  for (int key = 0; key < count + kGroup; ++key) {
    block.v[key] = reinterpret_cast<const Unit*>(v[key < count ? key : count - 1]);
  }
}

}  // namespace
}  // namespace rapt::cpu
