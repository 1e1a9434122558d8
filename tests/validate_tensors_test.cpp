// SPDX-License-Identifier: Apache-2.0 OR MIT
// What is refused of any one tensor, and of two that share memory.
#include <gtest/gtest.h>

#include <cstdint>

#include "rapt/rapt.h"
#include "valid_problem.h"

namespace rapt {
namespace {

constexpr std::int64_t kHuge = std::int64_t{1} << 62;

struct Refusal {
  const char* sentence;
  void (*spoil)(ValidProblem&);
};

void expect_all_refused(std::initializer_list<Refusal> refusals) {
  for (const Refusal& refusal : refusals) {
    ValidProblem valid;
    refusal.spoil(valid);
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT,
                   [&] { return rapt_attend(&valid.problem, nullptr); });
  }
}

TEST(ValidateTensors, RefusesWhatNoTensorMayBe) {
  expect_all_refused({
      {"k: struct_size is 0; must be 112", [](ValidProblem& v) { v.problem.k.struct_size = 0; }},
      {"k: dtype is 42; must be one of rapt_dtype",
       [](ValidProblem& v) { v.problem.k.dtype = 42; }},
      {"k: rank is 0; must be 1 to 5", [](ValidProblem& v) { v.problem.k.rank = 0; }},
      {"k: rank is 6; must be 1 to 5", [](ValidProblem& v) { v.problem.k.rank = 6; }},
      {"k: device_kind is 9; must be one of rapt_device_kind",
       [](ValidProblem& v) { v.problem.k.device_kind = 9; }},
      {"k: device_index is -1; must be 0 or more",
       [](ValidProblem& v) { v.problem.k.device_index = -1; }},
      {"lse: has data or a rank, but no dtype",
       [](ValidProblem& v) { v.problem.lse.dtype = RAPT_NONE; }},
  });
}

TEST(ValidateTensors, RefusesSizesAndStridesThatDoNotFit) {
  expect_all_refused({
      {"k: shape[1] is -6; must be 0 or more", [](ValidProblem& v) { v.problem.k.shape[1] = -6; }},
      {"k: its sizes overflow 64 bits", [](ValidProblem& v) { v.problem.k.shape[1] = kHuge; }},
      {"k: strides[0] is -1; must be 0 or more",
       [](ValidProblem& v) { v.problem.k.strides[0] = -1; }},
      {"k: strides[3] is 2; the innermost dimension must be contiguous, 1",
       [](ValidProblem& v) { v.problem.k.strides[3] = 2; }},
      {"k: strides[3] is 0; the innermost dimension must be contiguous, 1",
       [](ValidProblem& v) { v.problem.k.strides[3] = 0; }},
      {"k: its strides overflow 64 bits", [](ValidProblem& v) { v.problem.k.strides[1] = kHuge; }},
      {"k: its strides overflow 64 bits",  // the sum of two that fit alone
       [](ValidProblem& v) {
         v.problem.k.strides[0] = kHuge;
         v.problem.k.strides[2] = kHuge;
       }},
      {"k: its strides reach beyond the end of memory",
       [](ValidProblem& v) { v.problem.k.data = reinterpret_cast<void*>(~std::uintptr_t{63}); }},
  });
}

TEST(ValidateTensors, RefusesDataThatIsNotThere) {
  expect_all_refused({
      {"v: data is null, and the view has elements",
       [](ValidProblem& v) { v.problem.v.data = nullptr; }},
      {"v: data is not aligned to its elements of 4 bytes",
       [](ValidProblem& v) { v.problem.v.data = static_cast<char*>(v.problem.v.data) + 2; }},
  });
}

TEST(ValidateTensors, RefusesAnotherDevice) {
  expect_all_refused({
      {"v: is on device 1:0, q on 0:0",
       [](ValidProblem& v) { v.problem.v.device_kind = RAPT_CUDA; }},
      {"lse: is on device 0:1, q on 0:0", [](ValidProblem& v) { v.problem.lse.device_index = 1; }},
  });
}

TEST(ValidateTensors, RefusesOutputsThatOverlapThemselves) {
  expect_all_refused({
      {"out: strides[0] is 0, so its elements overlap; an output must have each once",
       [](ValidProblem& v) { v.problem.out.strides[0] = 0; }},
      {"out: strides[1] is 31, so its elements overlap; an output must have each once",
       [](ValidProblem& v) { v.problem.out.strides[1] = 31; }},
      {"lse: strides[1] is 3, so its elements overlap; an output must have each once",
       [](ValidProblem& v) { v.problem.lse.strides[1] = 3; }},
  });
}

TEST(ValidateTensors, RefusesOutputsThatOverlapInputs) {
  expect_all_refused({
      {"out: overlaps q in memory", [](ValidProblem& v) { v.problem.out.data = v.problem.q.data; }},
      {"out: overlaps v in memory",
       [](ValidProblem& v) { v.problem.v.data = static_cast<char*>(v.problem.out.data) + 8; }},
      {"out: overlaps lse in memory",
       [](ValidProblem& v) { v.problem.lse.data = v.problem.out.data; }},
      {"lse: overlaps k in memory", [](ValidProblem& v) { v.problem.lse.data = v.problem.k.data; }},
      {"lse: overlaps lengths.kv_len in memory",
       [](ValidProblem& v) {
         v.problem.lengths = &v.lengths;
         v.problem.lse.data = v.lengths.kv_len.data;
       }},
  });
}

// One buffer [tokens, slots, 8]: `slot` is where each token's 4 heads of 16 begin.
rapt_tensor slice(void* buffer, std::int64_t slot, std::int64_t heads, std::int64_t dim) {
  rapt_tensor t = rapt_view(buffer, RAPT_FP32, RAPT_BSHD, 1, 4, heads, dim);
  t.data = static_cast<float*>(buffer) + slot;
  t.strides[0] = 4 * 256;
  t.strides[1] = 256;
  return t;
}

struct Packed {
  std::vector<float> buffer = std::vector<float>(std::size_t{4} * 256, 0.5F);
  rapt_attention problem = {};

  explicit Packed(std::int64_t out_slot) {
    problem.struct_size = sizeof problem;
    problem.q = slice(buffer.data(), 0, 4, 16);
    problem.k = slice(buffer.data(), 64, 4, 16);
    problem.v = slice(buffer.data(), 128, 4, 16);
    problem.out = slice(buffer.data(), out_slot, 4, 16);
  }
};

TEST(ValidateTensors, AcceptsOutputsThatTakeTurnsWithInputs) {
  Packed apart(192);
  EXPECT_EQ(rapt_attend(&apart.problem, nullptr), RAPT_OK) << rapt_error_message();
  EXPECT_FLOAT_EQ(apart.buffer[192], 0.5F);  // the mean of equal values
}

TEST(ValidateTensors, RefusesOutputsThatReachIntoTheirNeighbour) {
  Packed into(191);
  const std::vector<float> before = into.buffer;
  EXPECT_EQ(rapt_attend(&into.problem, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "out: overlaps v in memory");
  EXPECT_EQ(into.buffer, before);
}

TEST(ValidateTensors, RefusesViewsOfOneBufferWithoutACommonPeriod) {
  Packed odd(192);
  odd.problem.out.strides[1] = 250;
  EXPECT_EQ(rapt_attend(&odd.problem, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "out: overlaps q in memory");
}

TEST(ValidateTensors, AcceptsStridesThatRepeatInputs) {
  ValidProblem valid;
  valid.problem.k.strides[0] = valid.problem.v.strides[0] = 0;  // one cache for both sequences
  valid.problem.k.strides[2] = valid.problem.v.strides[2] = 0;  // and for both heads
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateTensors, AcceptsAnyStrideOfADimensionOfOne) {
  ValidProblem valid;
  valid.problem.q.shape[0] = valid.problem.k.shape[0] = valid.problem.v.shape[0] = 1;
  valid.problem.out.shape[0] = valid.problem.lse.shape[0] = 1;
  valid.problem.q.strides[0] = valid.problem.out.strides[0] = INT64_MAX;
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateTensors, AcceptsEmptyTensorsWithoutData) {
  ValidProblem valid;
  for (rapt_tensor* t : {&valid.problem.q, &valid.problem.out, &valid.problem.lse}) {
    t->shape[t == &valid.problem.lse ? 2 : 1] = 0;
    t->data = nullptr;
  }
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateTensors, AViewOfTooManyDimensionsIsRefusedWhereItIsUsed) {
  ValidProblem valid;
  const std::int64_t shape[] = {1, 1, 1, 1, 1, 1};
  valid.problem.q = rapt_packed(valid.problem.q.data, RAPT_FP32, 6, shape);
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "q: rank is 6; must be 1 to 5");
}

}  // namespace
}  // namespace rapt
