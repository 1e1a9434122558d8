// SPDX-License-Identifier: Apache-2.0 OR MIT
// Where the keys and values of one (sequence, kv head) lie, and a block of them made ready for the
// register kernels as arrays of row pointers. Dense, ragged and most paged rows are read in place.
// Copied are: rows of another element type (widened), caches whose tokens are contiguous (turned),
// BF16 V (paired).
#pragma once
#include "backend/cpu/context.h"
#include "backend/cpu/dot.h"
#include "backend/cpu/planted.h"
#include "backend/cpu/segments.h"

namespace rapt::cpu {
namespace {

// K or V of one sequence from some kv head on; strides in bytes.
struct Side {
  const char* base;
  std::int64_t token_stride;
  std::int64_t head_stride;
  std::int64_t page_stride;
  std::int64_t dim_stride;  // 0: the dimension is contiguous
  int x;                    // dimensions in one contiguous group
  int dim;
};

struct Source {
  Side k, v;
  const std::int32_t* pages;  // null: not paged
  std::int64_t page_count;
  int page_shift;
  DType dtype;
};

inline Side dense_side(const Context& c, const Rows& rows, std::int64_t dim) {
  const int bytes = element_bytes(c.problem.dtype);
  const Sequence& s = c.sequence;
  const std::int64_t at = s.kv_batch * rows.batch_stride + s.kv_token * rows.token_stride +
                          c.kv_head * rows.head_stride;
  return {static_cast<const char*>(rows.data) + at * bytes,
          rows.token_stride * bytes,
          rows.head_stride * bytes,
          0,
          0,
          1,
          static_cast<int>(dim)};
}

inline Side paged_side(const Context& c, const PagedRows& rows, std::int64_t dim) {
  const int bytes = element_bytes(c.problem.dtype);
  const bool contiguous = rows.dim_stride == 1 && rows.x == 1;
  return {static_cast<const char*>(rows.data) + c.kv_head * rows.head_stride * bytes,
          rows.token_stride * bytes,
          rows.head_stride * bytes,
          rows.page_stride * bytes,
          contiguous ? 0 : rows.dim_stride * bytes,
          static_cast<int>(rows.x),
          static_cast<int>(dim)};
}

inline Source make_source(const Context& c) {
  const Problem& p = c.problem;
  if (p.page_size == 0) {
    return {
        dense_side(c, p.k, p.head_dim), dense_side(c, p.v, p.value_dim), nullptr, 0, 0, p.dtype};
  }
  return {paged_side(c, p.k_pages, p.head_dim),
          paged_side(c, p.v_pages, p.value_dim),
          c.sequence.pages,
          p.pages,
          __builtin_ctzll(static_cast<unsigned long long>(p.page_size)),
          p.dtype};
}

// First element of a key's row. Page ids come from a caller's table and are clamped.
inline const char* locate(const Source& source, const Side& side, std::int64_t key) {
  if (source.pages == nullptr) return side.base + key * side.token_stride;
  const std::int64_t slot = key & ((std::int64_t{1} << source.page_shift) - 1);
  std::int64_t entry = key >> source.page_shift;
  if (planted(Plant::stale_page) && slot == 0 && entry > 0) --entry;
  const std::int64_t page = clamp(source.pages[entry], 0, source.page_count - 1);
  return side.base + page * side.page_stride + slot * side.token_stride;
}

// The rows of a block where they lie; found one block ahead, to be fetched meanwhile.
struct Place {
  std::int64_t first = 0;
  int count = 0;
  const char* k[kBlock];
  const char* v[kBlock];
};

inline void find_rows(const Source& source, std::int64_t first, int count, Place& place) {
  place.first = first;
  place.count = count;
  for (int key = 0; key < count; ++key) {
    place.k[key] = locate(source, source.k, first + key);
    place.v[key] = locate(source, source.v, first + key);
  }
}

// Fetches the next block's rows, evenly over the steps of the block before it: they are scattered,
// so the hardware's prefetchers miss them (heads interleaved, FP32 D128: 75% of peak without, 91%
// with), and in bursts they would stall the arithmetic and then leave the memory idle.
struct Prefetch {
  const Place* place = nullptr;
  std::int64_t k_head_stride = 0;
  std::int64_t v_head_stride = 0;
  int k_bytes = 0;
  int v_bytes = 0;
  int heads = 1;
  int rows = 0;   // of K and V together
  int steps = 1;  // that will be made
  int credit = 0;
  int key = 0;
  int head = 0;
  bool values = false;

  [[gnu::always_inline]] void step() {
    for (credit += rows; credit >= steps && key < place->count; credit -= steps) next();
  }

  // A key's rows of K, of every head, then those of V: as they lie in memory.
  [[gnu::always_inline]] void next() {
    const char* row =
        values ? place->v[key] + head * v_head_stride : place->k[key] + head * k_head_stride;
    const int bytes = values ? v_bytes : k_bytes;
    for (int i = 0; i < bytes; i += 64) __builtin_prefetch(row + i, 0, 2);
    if (++head < heads) return;
    head = 0;
    if (values) ++key;
    values = !values;
  }
};

// Turns up to `count` tokens that lie side by side, each `dim` strided groups of x dimensions, into
// rows.
template <class Element>
void turn_run(const Side& side, const char* from, int count, char* to, int to_stride) {
  const int size = static_cast<int>(sizeof(Element));
  const int group_bytes = side.x * size;
  for (int token = 0; token < count; ++token) {
    const char* in = from + token * side.token_stride;
    char* out = to + token * to_stride;
    for (int d = 0; d < side.dim; d += side.x, in += side.dim_stride, out += group_bytes) {
      if (group_bytes == 16) {
        store4(out, load4(in));
      } else {
        __builtin_memcpy(out, in, sizeof(Element));
      }
    }
  }
}

// FP32 tokens side by side, four at a time.
inline int turn_words(const Side& side, const char* from, int count, char* to, int to_stride) {
  int token = 0;
  for (; token + 4 <= count; token += 4) {
    for (int d = 0; d < side.dim; d += 4) {
      F4 in[4], out[4];
      for (int i = 0; i < 4; ++i) in[i] = load4(from + (d + i) * side.dim_stride + token * 4);
      transpose4(in, out);
      for (int i = 0; i < 4; ++i) store4(to + (token + i) * to_stride + d * 4, out[i]);
    }
  }
  return token;
}

inline void transpose8(H8 rows[8]) {
  H8 a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = __builtin_shufflevector(rows[i], rows[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    a[2 * i + 1] = __builtin_shufflevector(rows[i], rows[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = __builtin_shufflevector(a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    b[2 * i + 1] = __builtin_shufflevector(a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
#pragma GCC unroll 8
  for (int i = 0; i < 4; ++i) {
    rows[2 * i] = __builtin_shufflevector(b[i], b[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
    rows[2 * i + 1] = __builtin_shufflevector(b[i], b[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
  }
}

// 16-bit tokens side by side, eight at a time.
inline int turn_halves(const Side& side, const char* from, int count, char* to, int to_stride) {
  int token = 0;
  for (; token + 8 <= count; token += 8) {
    for (int d = 0; d < side.dim; d += 8) {
      H8 rows[8];
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        __builtin_memcpy(&rows[i], from + (d + i) * side.dim_stride + token * 2, sizeof rows[i]);
      }
      transpose8(rows);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        __builtin_memcpy(to + (token + i) * to_stride + d * 2, &rows[i], sizeof rows[i]);
      }
    }
  }
  return token;
}

// Rows of a side whose dimension is strided, copied into contiguous rows; `rows` then points at the
// copies.
inline void turn_rows(const Source& source, const Side& side, const Place& place,
                      const char* rows[], char* to, int to_stride) {
  const int page_size = 1 << source.page_shift;
  const int bytes = element_bytes(source.dtype);
  for (int key = 0; key < place.count;) {
    const int slot = static_cast<int>((place.first + key) & (page_size - 1));
    const int left = place.count - key;
    const int run = page_size - slot < left ? page_size - slot : left;
    char* out = to + key * to_stride;
    int done = 0;
    if (side.x == 1 && side.token_stride == bytes) {
      done = bytes == 4 ? turn_words(side, rows[key], run, out, to_stride)
                        : turn_halves(side, rows[key], run, out, to_stride);
    }
    const char* rest = rows[key] + done * side.token_stride;
    if (bytes == 4) {
      turn_run<float>(side, rest, run - done, out + done * to_stride, to_stride);
    } else {
      turn_run<std::uint16_t>(side, rest, run - done, out + done * to_stride, to_stride);
    }
    key += run;
  }
  for (int key = 0; key < place.count; ++key) rows[key] = to + key * to_stride;
}

}  // namespace
}  // namespace rapt::cpu
