// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every index in host memory: what is refused, and where a resolved sequence lives.
#include <gtest/gtest.h>

#include <vector>

#include "api/validate.h"
#include "rapt/rapt.h"
#include "valid_problem.h"

namespace rapt {
namespace {

struct Refusal {
  const char* sentence;
  void (*spoil)(ValidProblem&);
};

void expect_all_refused(Form form, std::initializer_list<Refusal> refusals) {
  for (const Refusal& refusal : refusals) {
    ValidProblem valid(form);
    if (form == Form::dense) valid.problem.lengths = &valid.lengths;
    refusal.spoil(valid);
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT,
                   [&] { return rapt_attend(&valid.problem, nullptr); });
  }
}

TEST(ValidateIndices, RefusesOffsets) {
  expect_all_refused(
      Form::ragged,
      {
          {"ragged.q_offsets: starts at 3; must start at 0",
           [](ValidProblem& v) { int32_at(v.ragged.q_offsets, 0) = 3; }},
          {"ragged.q_offsets: starts at -1; must start at 0",
           [](ValidProblem& v) { int32_at(v.ragged.q_offsets, 0) = -1; }},
          {"ragged.q_offsets: decreases from 4 to 3 at 2",
           [](ValidProblem& v) { int32_at(v.ragged.q_offsets, 2) = 3; }},
          {"ragged.q_offsets: is 8 at 1, there are 7 tokens",
           [](ValidProblem& v) { int32_at(v.ragged.q_offsets, 1) = 8; }},
          {"ragged.q_offsets: ends at 6, there are 7 tokens",
           [](ValidProblem& v) { int32_at(v.ragged.q_offsets, 2) = 6; }},
          {"ragged.kv_offsets: ends at 8, there are 9 tokens",
           [](ValidProblem& v) { int32_at(v.ragged.kv_offsets, 2) = 8; }},
          {"ragged.kv_offsets: is 4294967295 at 1, there are 9 tokens",  // UINT32 has no -1
           [](ValidProblem& v) { int32_at(v.ragged.kv_offsets, 1) = -1; }},
          {"ragged.max_q_len: is 3, sequence 0 has 4",
           [](ValidProblem& v) { v.ragged.max_q_len = 3; }},
          {"ragged.max_kv_len: is 5, sequence 0 has 6",
           [](ValidProblem& v) { v.ragged.max_kv_len = 5; }},
      });
}

TEST(ValidateIndices, RefusesLengths) {
  expect_all_refused(Form::dense,
                     {
                         {"lengths.q_len: sequence 1 is 5, q has room for 4",
                          [](ValidProblem& v) { int32_at(v.lengths.q_len, 1) = 5; }},
                         {"lengths.q_len: sequence 0 is -1; must be 0 or more",
                          [](ValidProblem& v) { int32_at(v.lengths.q_len, 0) = -1; }},
                         {"lengths.kv_len: sequence 1 is 7, k has room for 6",
                          [](ValidProblem& v) { int32_at(v.lengths.kv_len, 1) = 7; }},
                         {"lengths.cache_row: sequence 0 is 2, the last row of k is 1",
                          [](ValidProblem& v) { int32_at(v.lengths.cache_row, 0) = 2; }},
                         {"lengths.left_pad: sequence 1 is 6, its kv_len is 5",
                          [](ValidProblem& v) { int32_at(v.lengths.left_pad, 1) = 6; }},
                     });
}

TEST(ValidateIndices, RefusesPages) {
  expect_all_refused(
      Form::paged,
      {
          {"lengths.kv_len: sequence 0 is 13, its pages have room for 12",
           [](ValidProblem& v) { int32_at(v.lengths.kv_len, 0) = 13; }},
          {"pages.table: sequence 1 entry 1 is 917, the cache has 5 pages",
           [](ValidProblem& v) { int32_at(v.pages.table, 4) = 917; }},
          {"pages.table: sequence 0 entry 0 is -1, the cache has 5 pages",
           [](ValidProblem& v) { int32_at(v.pages.table, 0) = -1; }},
          {"pages.table: sequence 0 entry 2 is 9, the cache has 5 pages",  // one key more reaches
                                                                           // it
           [](ValidProblem& v) { int32_at(v.lengths.kv_len, 0) = 9; }},
      });
}

TEST(ValidateIndices, RefusesPositionsThatCouldOverflow) {
  expect_all_refused(
      Form::dense,
      {
          {"positions.q_start: sequence 1 is -9223372036854775808; must be within +-2^61",
           [](ValidProblem& v) {
             v.problem.positions = &v.positions;
             v.positions.q_start = v.arena.int64s({0, INT64_MIN});
           }},
          {"positions.kv_start: sequence 0 is 2305843009213693953; must be within +-2^61",
           [](ValidProblem& v) {
             v.problem.positions = &v.positions;
             int64_at(v.positions.kv_start, 0) = (std::int64_t{1} << 61) + 1;
           }},
      });
}

std::vector<Sequence> resolve(const ValidProblem& valid) {
  Problem problem;
  std::vector<Sequence> sequences;
  EXPECT_TRUE(validate(&valid.problem, Data::required, &problem).ok());
  EXPECT_TRUE(resolve_sequences(problem, &sequences).ok());
  return sequences;
}

TEST(ValidateIndices, ResolvesADenseCache) {
  ValidProblem valid;
  valid.problem.lengths = &valid.lengths;
  const std::vector<Sequence> s = resolve(valid);
  ASSERT_EQ(s.size(), 2U);
  EXPECT_EQ(s[1].q_batch, 1);
  EXPECT_EQ(s[1].q_len, 3);
  EXPECT_EQ(s[1].q_rows, 4);
  EXPECT_EQ(s[1].kv_batch, 0);
  EXPECT_EQ(s[1].kv_token, 2);
  EXPECT_EQ(s[1].kv_len, 3);
  EXPECT_EQ(s[1].q_start, 0);  // bottom-right: 3 keys, 3 queries
  EXPECT_EQ(s[0].q_start, 2);
}

TEST(ValidateIndices, ResolvesRaggedSequences) {
  ValidProblem valid(Form::ragged);
  valid.problem.positions = &valid.positions;
  const std::vector<Sequence> s = resolve(valid);
  ASSERT_EQ(s.size(), 2U);
  EXPECT_EQ(s[1].q_batch, 0);
  EXPECT_EQ(s[1].q_token, 4);
  EXPECT_EQ(s[1].q_len, 3);
  EXPECT_EQ(s[1].q_rows, 3);
  EXPECT_EQ(s[1].kv_token, 6);
  EXPECT_EQ(s[1].kv_len, 3);
  EXPECT_EQ(s[1].q_start, 5);
  EXPECT_EQ(s[1].kv_start, 7);
}

TEST(ValidateIndices, ResolvesPages) {
  ValidProblem valid(Form::paged);
  const std::vector<Sequence> s = resolve(valid);
  ASSERT_EQ(s.size(), 2U);
  EXPECT_EQ(s[1].kv_len, 5);
  EXPECT_EQ(s[1].pages[0], 1);
  EXPECT_EQ(s[1].pages[1], 3);
}

TEST(ValidateIndices, AcceptsZeroLengthsAndWhatLiesBehindThem) {
  ValidProblem dense;
  dense.problem.lengths = &dense.lengths;
  dense.lengths.q_len = dense.arena.int32s({0, 4});
  dense.lengths.kv_len = dense.arena.int32s({6, 0});
  dense.lengths.left_pad = {};
  EXPECT_EQ(rapt_attend(&dense.problem, nullptr), RAPT_OK) << rapt_error_message();

  ValidProblem ragged(Form::ragged);
  ragged.ragged.q_offsets = ragged.arena.int32s({0, 0, 7});
  ragged.ragged.kv_offsets = ragged.arena.int32s({0, 9, 9});
  EXPECT_EQ(rapt_attend(&ragged.problem, nullptr), RAPT_OK) << rapt_error_message();

  ValidProblem paged(Form::paged);
  paged.lengths.kv_len = paged.arena.int32s({0, 8});
  int32_at(paged.pages.table, 0) = -5;  // of a sequence without keys
  EXPECT_EQ(rapt_attend(&paged.problem, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateIndices, AcceptsNoSequencesAtAll) {
  ValidProblem valid(Form::ragged);
  valid.ragged.q_offsets = valid.ragged.kv_offsets = valid.arena.int32s({0});
  valid.problem.q.shape[0] = valid.problem.out.shape[0] = valid.problem.lse.shape[1] = 0;
  valid.problem.k.shape[0] = valid.problem.v.shape[0] = 0;
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
}

}  // namespace
}  // namespace rapt
