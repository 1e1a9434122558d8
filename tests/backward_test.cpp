// SPDX-License-Identifier: Apache-2.0 OR MIT
// Gradients on every instruction set of this machine: against the oracle, feature by feature; the
// same bits on every number of threads and in every run; special values; and errors that do not
// grow with the length.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>

#include "kit/attempt.h"
#include "kit/cases.h"
#include "kit/compare.h"
#include "kit/kernels.h"
#include "kit/numbers.h"
#include "kit/workload.h"

namespace rapt::kit {
namespace {

rapt_options usual(std::int32_t threads = 0) {
  rapt_options options{};
  options.struct_size = sizeof options;
  options.threads = threads;
  return options;
}

struct Backward : testing::TestWithParam<const char*> {};

TEST_P(Backward, IsTheOracles) {
  for (const char* dtype : {"fp32", "fp16", "bf16", "bf16 out_dtype=fp32"}) {
    const std::string text =
        "direction=backward " + std::string(GetParam()) + " dtype=" + std::string(dtype);
    Workload workload(case_of(text));
    ASSERT_EQ(rapt_attend(&workload.attention(), nullptr), RAPT_OK) << rapt_error_message();
    const GradientTruth truth(workload.host_gradient());
    for (const std::string& kernel : runnable_backwards()) {
      const rapt_options options = force(kernel);
      workload.poison_outputs();
      ASSERT_EQ(rapt_attend(&workload.attention(), nullptr), RAPT_OK) << rapt_error_message();
      ASSERT_EQ(rapt_attend_backward(&workload.gradient(), &options), RAPT_OK)
          << rapt_error_message();
      const Verdict verdict = check_gradient(workload, truth);
      EXPECT_TRUE(verdict.passed) << kernel << ": " << text << ": " << verdict.sentence;
    }
  }
}

TEST_P(Backward, GivesTheSameBitsOnEveryNumberOfThreads) {
  Workload workload(case_of("direction=backward " + std::string(GetParam())));
  std::string first;
  for (const std::int32_t threads : {1, 2, 3, 7, 1}) {
    const rapt_options options = usual(threads);
    workload.poison_outputs();
    ASSERT_EQ(rapt_attend(&workload.attention(), &options), RAPT_OK) << rapt_error_message();
    ASSERT_EQ(rapt_attend_backward(&workload.gradient(), &options), RAPT_OK)
        << rapt_error_message();
    const std::string bits = workload.output_bytes();
    if (first.empty()) first = bits;
    EXPECT_EQ(bits, first) << threads << " threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Features, Backward, testing::ValuesIn(gradient_cases()));

// Two rounds of four items, which add to each other's sums.
TEST(BackwardRepeat, GivesTheSameBitsTwoHundredTimes) {
  Workload workload(
      case_of("direction=backward q_len=60 kv_len=2100 q_heads=8 kv_heads=2 head_dim=16 bias=fp32 "
              "bias_dims=h alibi=head sinks=1"));
  ASSERT_EQ(rapt_attend(&workload.attention(), nullptr), RAPT_OK) << rapt_error_message();
  const rapt_options options = usual(4);
  std::string first;
  for (int run = 0; run < 200; ++run) {
    ASSERT_EQ(rapt_attend_backward(&workload.gradient(), &options), RAPT_OK)
        << rapt_error_message();
    const std::string bits = workload.output_bytes();
    if (run == 0) first = bits;
    ASSERT_EQ(bits, first) << "run " << run;
  }
}

class BackwardValues : public testing::TestWithParam<const char*> {};

TEST_P(BackwardValues, AreJudgedLikeAnyOther) {
  for (const char* dtype : {"fp32", "fp16", "bf16"}) {
    for (int seed = 1; seed <= 3; ++seed) {
      const std::string text =
          "direction=backward q_len=50 kv_len=150 head_dim=24 mask=causal values=" +
          std::string(GetParam()) + " dtype=" + dtype + " seed=" + std::to_string(seed);
      const Attempt made = attempt(case_of(text), usual());
      EXPECT_TRUE(made.verdict.passed) << text << ": " << made.verdict.sentence;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, BackwardValues,
                         testing::Values("offset", "outliers", "large", "nan", "inf"));

TEST(BackwardRows, ThatSeeNothingGiveNothing) {
  Workload workload(case_of("direction=backward q_len=9 kv_len=4 mask=causal sinks=1 q_heads=2"));
  ASSERT_EQ(rapt_attend(&workload.attention(), nullptr), RAPT_OK);
  ASSERT_EQ(rapt_attend_backward(&workload.gradient(), nullptr), RAPT_OK) << rapt_error_message();
  const rapt_tensor& dq = workload.host_gradient().dq;
  for (std::int64_t i = 0; i < 5; ++i) {
    for (std::int64_t d = 0; d < 64; ++d) {
      EXPECT_EQ(load(dq.data, dq.dtype, i * dq.strides[1] + d), 0) << i;
    }
  }
}

// 20,480 keys under few queries, where dq sums long; and few keys under 20,480 queries, where dk
// and dv do.
struct BackwardGrowth : testing::TestWithParam<const char*> {};

// The median of three draws: 24 rows have few large errors, and one draw's largest says little.
TEST_P(BackwardGrowth, StaysWithTheYardstick) {
  const auto ratio_at = [](int length) {
    const std::string long_side = GetParam();
    std::array<double, 3> ratios{};
    for (std::size_t seed = 0; seed < ratios.size(); ++seed) {
      const std::string text = "direction=backward " + long_side + "=" + std::to_string(length) +
                               (long_side == "q_len" ? " kv_len=24" : " q_len=24") +
                               " seed=" + std::to_string(seed + 1);
      const Attempt made = attempt(case_of(text), usual());
      EXPECT_TRUE(made.verdict.passed) << text << ": " << made.verdict.sentence;
      ratios[seed] = made.verdict.ratio;
    }
    std::sort(ratios.begin(), ratios.end());
    return ratios[1];
  };
  const double shorter = ratio_at(512);
  for (const int length : {2048, 20480}) {
    EXPECT_LE(ratio_at(length), std::max(1.25 * shorter, 1.1 / 1.3)) << length;
  }
}

INSTANTIATE_TEST_SUITE_P(Sides, BackwardGrowth, testing::Values("q_len", "kv_len"));

}  // namespace
}  // namespace rapt::kit
