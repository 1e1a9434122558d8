// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reads the C interface's structs, each of which begins with its size: older callers lend smaller
// ones, younger callers larger ones.
#pragma once
#include <cstddef>

#include "rapt/rapt.h"
#include "status.h"

namespace rapt {

struct Sizes {
  std::size_t first;  // of version 0.1: the least a caller may lend
  std::size_t ours;
};

// Copies a caller's struct into ours; fields that the caller does not know yet are zero, and fields
// that we do not know yet must be. `name` is what the sentence of refusal begins with.
Status read_sized(const char* name, const void* from, Sizes sizes, void* to);

// Where the last field of version 0.1 ends; by field, so that it stays when the struct grows.
template <typename T>
inline constexpr std::size_t kFirstSize = 0;
template <>
inline constexpr std::size_t kFirstSize<rapt_mask> =
    offsetof(rapt_mask, sink_tokens) + sizeof(rapt_mask::sink_tokens);
template <>
inline constexpr std::size_t kFirstSize<rapt_softcap> =
    offsetof(rapt_softcap, cap) + sizeof(rapt_softcap::cap);
template <>
inline constexpr std::size_t kFirstSize<rapt_alibi> =
    offsetof(rapt_alibi, slopes) + sizeof(rapt_alibi::slopes);
template <>
inline constexpr std::size_t kFirstSize<rapt_bias> =
    offsetof(rapt_bias, bias) + sizeof(rapt_bias::bias);
template <>
inline constexpr std::size_t kFirstSize<rapt_sinks> =
    offsetof(rapt_sinks, sinks) + sizeof(rapt_sinks::sinks);
template <>
inline constexpr std::size_t kFirstSize<rapt_dropout> =
    offsetof(rapt_dropout, offset) + sizeof(rapt_dropout::offset);
template <>
inline constexpr std::size_t kFirstSize<rapt_descale> =
    offsetof(rapt_descale, v) + sizeof(rapt_descale::v);
template <>
inline constexpr std::size_t kFirstSize<rapt_ragged> =
    offsetof(rapt_ragged, max_kv_len) + sizeof(rapt_ragged::max_kv_len);
template <>
inline constexpr std::size_t kFirstSize<rapt_pages> =
    offsetof(rapt_pages, page_size) + sizeof(rapt_pages::page_size);
template <>
inline constexpr std::size_t kFirstSize<rapt_lengths> =
    offsetof(rapt_lengths, left_pad) + sizeof(rapt_lengths::left_pad);
template <>
inline constexpr std::size_t kFirstSize<rapt_positions> =
    offsetof(rapt_positions, kv_start) + sizeof(rapt_positions::kv_start);
template <>
inline constexpr std::size_t kFirstSize<rapt_attention> =
    offsetof(rapt_attention, positions) + sizeof(rapt_attention::positions);
template <>
inline constexpr std::size_t kFirstSize<rapt_gradient> =
    offsetof(rapt_gradient, d_slopes) + sizeof(rapt_gradient::d_slopes);
template <>
inline constexpr std::size_t kFirstSize<rapt_options> =
    offsetof(rapt_options, parallel_context) + sizeof(rapt_options::parallel_context);
template <>
inline constexpr std::size_t kFirstSize<rapt_bounds> =
    offsetof(rapt_bounds, kv_len) + sizeof(rapt_bounds::kv_len);
template <>
inline constexpr std::size_t kFirstSize<rapt_step> =
    offsetof(rapt_step, kv_len) + sizeof(rapt_step::kv_len);
template <>
inline constexpr std::size_t kFirstSize<rapt_rope> =
    offsetof(rapt_rope, interleaved) + sizeof(rapt_rope::interleaved);
template <>
inline constexpr std::size_t kFirstSize<rapt_append_args> =
    offsetof(rapt_append_args, q_out) + sizeof(rapt_append_args::q_out);
template <>
inline constexpr std::size_t kFirstSize<rapt_merge_args> =
    offsetof(rapt_merge_args, merged_lse) + sizeof(rapt_merge_args::merged_lse);
template <>
inline constexpr std::size_t kFirstSize<rapt_compile_args> =
    offsetof(rapt_compile_args, list_only) + sizeof(rapt_compile_args::list_only);
template <>
inline constexpr std::size_t kFirstSize<rapt_device_info> =
    offsetof(rapt_device_info, workers) + sizeof(rapt_device_info::workers);

template <typename T>
Status read_sized(const char* name, const T* from, T* to) {
  static_assert(kFirstSize<T> > 0);
  return read_sized(name, from, {kFirstSize<T>, sizeof(T)}, to);
}

// A group behind a pointer: copies it and makes `*group` point to the copy; null stays null.
template <typename T>
Status read_group(const char* name, const T** group, T* copy) {
  if (*group == nullptr) return {};
  const T* from = *group;
  *group = copy;
  return read_sized(name, from, copy);
}

}  // namespace rapt
