// SPDX-License-Identifier: Apache-2.0 OR MIT
// Features of the score as passes over a segment of S^T in L1: each is written once, for every
// instruction set, element type and shape of tile, and costs nothing where it is off.
#pragma once
#include "backend/cpu/elements.h"
#include "backend/cpu/planted.h"
#include "backend/cpu/segments.h"

namespace rapt::cpu {
namespace {

// A segment and its scores: key k of the block, lane i of the tile at scores[k * kRows + i].
struct Patch {
  const Context& context;
  const TileRows& rows;
  const Segment& segment;
  std::int64_t first_key;  // key 0 of the block
  float* scores;
  float* scratch;              // [kBlock][kRows], for what must be turned into lanes first
  float* cap_slope = nullptr;  // [kBlock][kRows]: the softcap's derivative, where backward wants it
};

// Sets every score of lane vector `v` to f(key of the block, score).
template <class Function>
[[gnu::always_inline]] inline void update_vector(const Patch& patch, int v, Function f) {
  float* s = patch.scores + patch.segment.key_begin * kRows + v * kLanes;
  for (int key = patch.segment.key_begin; key < patch.segment.key_end; ++key, s += kRows) {
    Simd::store(s, f(key, Simd::load(s)));
  }
}

inline void scale_pass(const Patch& patch) {
  const F scale = Simd::set(patch.context.problem.scale);
  for (int v = patch.segment.vector_begin; v < patch.segment.vector_end; ++v) {
    update_vector(patch, v, [&](int, F s) { return s * scale; });
  }
}

inline void softcap_pass(const Patch& patch) {
  const F cap = Simd::set(patch.context.problem.softcap);
  const F inverse = Simd::set(patch.context.problem.scale / patch.context.problem.softcap);
  for (int v = patch.segment.vector_begin; v < patch.segment.vector_end; ++v) {
    update_vector(patch, v, [&](int, F s) { return cap * tanh(s * inverse); });
  }
}

// How far the queries of lane vector `v` are ahead of the block's key 0: counted from the block,
// FP32 is exact below 2^24.
inline F ahead_of_block(const Patch& patch, int v) {
  alignas(64) float ahead[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    ahead[i] =
        static_cast<float>(saturating_add(patch.rows.query[v * kLanes + i], -patch.first_key));
  }
  return Simd::load(ahead);
}

inline void alibi_pass(const Patch& patch) {
  for (int v = patch.segment.vector_begin; v < patch.segment.vector_end; ++v) {
    const F from = ahead_of_block(patch, v);
    const F slope = Simd::set(0.0f) - Simd::load(patch.rows.slope + v * kLanes);
    update_vector(patch, v, [&](int key, F s) {
      return Simd::fma(slope, abs(from - Simd::set(static_cast<float>(key))), s);
    });
  }
}

// Eight elements of a bias row, widened.
template <DType dtype>
[[gnu::always_inline]] inline void widen8(const char* from, F4 to[2]) {
  if constexpr (dtype == DType::fp32) {
    to[0] = load4(from);
    to[1] = load4(from + 16);
  } else if constexpr (dtype == DType::bf16) {
    H8 bits;
    __builtin_memcpy(&bits, from, sizeof bits);
    to[0] = (F4)__builtin_shufflevector(H8{}, bits, 0, 8, 0, 9, 0, 10, 0, 11);
    to[1] = (F4)__builtin_shufflevector(H8{}, bits, 0, 12, 0, 13, 0, 14, 0, 15);
  } else {
    std::uint16_t bits[8];
    float wide[8];
    __builtin_memcpy(bits, from, sizeof bits);
    Simd::widen_half8(bits, wide);
    to[0] = load4(wide);
    to[1] = load4(wide + 4);
  }
}

// Turns four lanes' bias rows into columns of `to`, [kBlock][kRows] at lane 0 of the four.
template <DType dtype>
void gather_bias(const char* const rows[4], int key, int end, float* to) {
  const int bytes = dtype == DType::fp32 ? 4 : 2;
  for (; key + 8 <= end; key += 8) {
    F4 wide[4][2], from[4], columns[4];
    for (int i = 0; i < 4; ++i) widen8<dtype>(rows[i] + key * bytes, wide[i]);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      for (int i = 0; i < 4; ++i) from[i] = wide[i][half];
      transpose4(from, columns);
      for (int i = 0; i < 4; ++i) store4(to + (key + half * 4 + i) * kRows, columns[i]);
    }
  }
  for (; key < end; ++key) {
    for (int i = 0; i < 4; ++i) to[key * kRows + i] = widen_one(rows[i] + key * bytes, dtype);
  }
}

inline void gather_bias(const char* const rows[4], DType dtype, int key, int end, float* to) {
  if (dtype == DType::fp32) return gather_bias<DType::fp32>(rows, key, end, to);
  if (dtype == DType::bf16) return gather_bias<DType::bf16>(rows, key, end, to);
  gather_bias<DType::fp16>(rows, key, end, to);
}

// Fetches a block's bias while its scores are still being summed: one short run a row, far apart.
inline void prefetch_bias(const Problem& p, const TileRows& rows, std::int64_t first, int count) {
  const std::int64_t key_bytes = p.bias_kv_stride * element_bytes(p.bias_dtype);
  for (int i = 0; i < rows.count; ++i) {
    const char* row = rows.bias[i] + first * key_bytes;
    for (std::int64_t at = 0; at < count * key_bytes; at += 64) __builtin_prefetch(row + at, 0, 2);
  }
}

inline void bias_pass(const Patch& patch) {
  const Problem& p = patch.context.problem;
  const std::int64_t key_bytes = p.bias_kv_stride * element_bytes(p.bias_dtype);
  const Segment& segment = patch.segment;
  for (int v = segment.vector_begin; v < segment.vector_end; ++v) {
    const char* const* rows = patch.rows.bias + v * kLanes;
    float* bias = patch.scratch + v * kLanes;
    for (int i = 0; i < kLanes && p.bias_kv_stride != 0; i += 4) {
      const char* four[4];
      for (int j = 0; j < 4; ++j) four[j] = rows[i + j] + patch.first_key * key_bytes;
      gather_bias(four, p.bias_dtype, segment.key_begin, segment.key_end, bias + i);
    }
    if (p.bias_kv_stride == 0) {
      for (int i = 0; i < kLanes; ++i) bias[i] = widen_one(rows[i], p.bias_dtype);
    }
    const int step = p.bias_kv_stride == 0 ? 0 : kRows;
    update_vector(patch, v, [&](int key, F s) { return s + Simd::load(bias + key * step); });
  }
}

// -inf outside the band; only segments that an edge crosses need it.
inline void mask_pass(const Patch& patch) {
  const std::int64_t first = patch.first_key, sinks = patch.context.band.sink_tokens;
  const int sink_end = static_cast<int>(clamp(saturating_add(sinks, -first), 0, kBlock));
  for (int v = patch.segment.vector_begin; v < patch.segment.vector_end; ++v) {
    alignas(64) std::int32_t begin[kLanes], end[kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const Range& window = patch.rows.window[v * kLanes + i];
      begin[i] = static_cast<std::int32_t>(clamp(window.begin - first, 0, kBlock));
      end[i] = static_cast<std::int32_t>(clamp(window.end - first, 0, kBlock));
      if (planted(Plant::mask_edge)) ++end[i];
    }
    I from, to;
    __builtin_memcpy(&from, begin, sizeof from);
    __builtin_memcpy(&to, end, sizeof to);
    const F hidden = Simd::set(-kInfinity);
    update_vector(patch, v, [&](int key, F s) {
      s = select(to > key, s, hidden);
      return key < sink_end ? s : select(from > key, hidden, s);
    });
  }
}

// Zeroes dropped probabilities; the kept ones' factor is left to the end of the row.
inline void dropout_pass(const Patch& patch) {
  const Problem& p = patch.context.problem;
  const Philox philox = {static_cast<std::uint32_t>(p.dropout_seed),
                         static_cast<std::uint32_t>(p.dropout_seed >> 32)};
  const auto first_position =
      static_cast<std::int64_t>(static_cast<std::uint64_t>(patch.context.sequence.kv_start) +
                                static_cast<std::uint64_t>(patch.first_key));
  const U keep = U{} + static_cast<std::uint32_t>(p.dropout_keep);
  for (int v = patch.segment.vector_begin; v < patch.segment.vector_end; ++v) {
    U position, stream, words[4];
    __builtin_memcpy(&position, patch.rows.position + v * kLanes, sizeof position);
    __builtin_memcpy(&stream, patch.rows.stream + v * kLanes, sizeof stream);
    bool fresh = false;
    update_vector(patch, v, [&](int key, F s) {
      const std::int64_t at = first_position + key;
      const int byte = static_cast<int>(at & 15);
      if (!fresh || byte == 0) {
        words[0] = U{} + static_cast<std::uint32_t>(at >> 4);
        words[1] = position;
        words[2] = stream;
        words[3] = U{} + p.dropout_offset;
        philox(words);
        fresh = true;
      }
      const U random = (words[byte / 4] >> static_cast<std::uint32_t>(byte % 4 * 8)) & 0xffu;
      return select((I)(random < keep), s, Simd::set(0.0f));
    });
  }
}

using Pass = void (*)(const Patch&);

// The passes over scores that a problem needs, in the order of the definition.
struct PassList {
  int count = 0;
  Pass at[4];
};

// `after_cap`: what wants to see the scores between the softcap and what is added to them.
inline PassList make_passes(const Problem& p, Pass after_cap = nullptr) {
  PassList list;
  if (p.softcap != 0.0f) {
    list.at[list.count++] = softcap_pass;
    if (after_cap != nullptr) list.at[list.count++] = after_cap;
  } else if (wants_natural_scores(p)) {
    list.at[list.count++] = scale_pass;
  }
  if (p.alibi != nullptr) list.at[list.count++] = alibi_pass;
  if (p.bias != nullptr) list.at[list.count++] = bias_pass;
  return list;
}

}  // namespace
}  // namespace rapt::cpu
