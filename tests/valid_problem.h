// SPDX-License-Identifier: Apache-2.0 OR MIT
// Small valid problems of every form, for tests that spoil one field and expect its sentence. All
// tensors live in one arena, so that "nothing was written" is one comparison.
#pragma once
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <vector>

#include "rapt/rapt.h"

namespace rapt {

// Memory that tensors are cut from; 0x5A everywhere until filled.
class Arena {
 public:
  Arena() : bytes_(kBytes, 0x5A) {}
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  rapt_tensor tensor(rapt_dtype dtype, std::initializer_list<std::int64_t> shape) {
    rapt_tensor t =
        rapt_packed(nullptr, dtype, static_cast<std::int32_t>(shape.size()), shape.begin());
    std::size_t bytes = rapt_dtype_bytes(dtype);
    for (const std::int64_t n : shape) bytes *= static_cast<std::size_t>(n);
    t.data = take(bytes);
    return t;
  }

  template <typename T>
  rapt_tensor vector(rapt_dtype dtype, std::initializer_list<T> values) {
    rapt_tensor t = tensor(dtype, {static_cast<std::int64_t>(values.size())});
    std::memcpy(t.data, values.begin(), values.size() * sizeof(T));
    return t;
  }
  rapt_tensor int32s(std::initializer_list<std::int32_t> values) {
    return vector(RAPT_INT32, values);
  }
  rapt_tensor int64s(std::initializer_list<std::int64_t> values) {
    return vector(RAPT_INT64, values);
  }

  [[nodiscard]] const std::vector<unsigned char>& bytes() const { return bytes_; }

 private:
  static constexpr std::size_t kBytes = 1 << 17;

  void* take(std::size_t bytes) {
    void* start = bytes_.data() + used_;
    used_ += (bytes + 63) / 64 * 64;
    EXPECT_LE(used_, kBytes);
    return start;
  }

  std::vector<unsigned char> bytes_;
  std::size_t used_ = 0;
};

// An integer inside a tensor, to be spoilt.
inline std::int32_t& int32_at(const rapt_tensor& t, std::int64_t i) {
  return static_cast<std::int32_t*>(t.data)[i];
}
inline std::int64_t& int64_at(const rapt_tensor& t, std::int64_t i) {
  return static_cast<std::int64_t*>(t.data)[i];
}

enum class Form { dense, ragged, paged };

// Two sequences, 4 query heads over 2 kv heads, head_dim 16, value_dim 8. Every group is filled in
// and valid, but only those that the form needs are attached: `problem.mask = &mask` turns one on.
struct ValidProblem {
  Arena arena;
  rapt_attention problem = {};
  rapt_mask mask = {sizeof mask, RAPT_UNBOUNDED, 0, 0};
  rapt_softcap softcap = {sizeof softcap, 30};
  rapt_alibi alibi = {sizeof alibi, {}};
  rapt_bias bias = {sizeof bias, {}};
  rapt_sinks sinks = {sizeof sinks, {}};
  rapt_dropout dropout = {sizeof dropout, 0.5F, 1, 0};
  rapt_descale descale = {sizeof descale, {}, {}, {}};
  rapt_ragged ragged = {sizeof ragged, {}, {}, 0, 0};
  rapt_pages pages = {sizeof pages, {}, RAPT_PAGE_HEAD_DIM, 4};
  rapt_lengths lengths = {sizeof lengths, {}, {}, {}, {}};
  rapt_positions positions = {sizeof positions, {}, {}};
  float scale = 0.25F;

  explicit ValidProblem(Form form = Form::dense, rapt_dtype dtype = RAPT_FP32) {
    problem.struct_size = sizeof problem;
    alibi.slopes = arena.tensor(RAPT_FP32, {2, 4});
    bias.bias = arena.tensor(RAPT_FP32, {1, 4, 4, 6});
    sinks.sinks = arena.tensor(RAPT_FP32, {4});
    positions.q_start = arena.int32s({0, 5});
    positions.kv_start = arena.int64s({0, 7});
    if (form == Form::dense) make_dense(dtype);
    if (form == Form::ragged) make_ragged(dtype);
    if (form == Form::paged) make_paged(dtype);
  }

 private:
  void make_dense(rapt_dtype dtype) {
    problem.q = arena.tensor(dtype, {2, 4, 4, 16});
    problem.k = arena.tensor(dtype, {2, 6, 2, 16});
    problem.v = arena.tensor(dtype, {2, 6, 2, 8});
    problem.out = arena.tensor(dtype, {2, 4, 4, 8});
    problem.lse = arena.tensor(RAPT_FP32, {2, 4, 4});
    lengths.q_len = arena.int32s({4, 3});
    lengths.kv_len = arena.int32s({6, 5});
    lengths.cache_row = arena.int32s({1, 0});
    lengths.left_pad = arena.int32s({0, 2});
  }

  void make_ragged(rapt_dtype dtype) {
    problem.q = arena.tensor(dtype, {7, 4, 16});
    problem.k = arena.tensor(dtype, {9, 2, 16});
    problem.v = arena.tensor(dtype, {9, 2, 8});
    problem.out = arena.tensor(dtype, {7, 4, 8});
    problem.lse = arena.tensor(RAPT_FP32, {4, 7});
    ragged.q_offsets = arena.int32s({0, 4, 7});
    ragged.kv_offsets = arena.vector<std::uint32_t>(RAPT_UINT32, {0, 6, 9});
    problem.ragged = &ragged;
  }

  void make_paged(rapt_dtype dtype) {
    make_dense(dtype);
    problem.k = arena.tensor(dtype, {5, 4, 2, 16});
    problem.v = arena.tensor(dtype, {5, 4, 2, 8});
    pages.table = arena.int32s({4, 0, 9, 1, 3, 9});
    pages.table.rank = 2;
    pages.table.shape[0] = 2;
    pages.table.shape[1] = pages.table.strides[0] = 3;
    pages.table.strides[1] = 1;
    lengths.q_len = lengths.cache_row = lengths.left_pad = {};
    problem.pages = &pages;
    problem.lengths = &lengths;
  }
};

// Expects the verb's refusal, word for word, and that no byte of the arena changed.
template <typename Verb>
void expect_refusal(const Arena& arena, const char* sentence, rapt_status code, Verb verb) {
  const std::vector<unsigned char> before = arena.bytes();
  const rapt_status status = verb();
  EXPECT_STREQ(rapt_status_name(status), rapt_status_name(code)) << sentence;
  EXPECT_STREQ(rapt_error_message(), sentence);
  EXPECT_TRUE(arena.bytes() == before) << sentence << ": something was written";
}

}  // namespace rapt
