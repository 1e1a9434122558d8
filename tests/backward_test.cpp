// SPDX-License-Identifier: Apache-2.0 OR MIT
// Gradients on every instruction set of this machine: against the oracle, feature by feature; the
// same bits on every number of threads and in every run; special values; and errors that do not
// grow with the length.
#include <gtest/gtest.h>

#include <algorithm>
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

const char* const kFeatures[] = {
    "q_len=1 kv_len=1",
    "q_len=50 kv_len=129 head_dim=8",
    "q_len=200 kv_len=300 mask=causal",
    "q_len=129 kv_len=77 mask=causal q_heads=6 kv_heads=2 head_dim=72 value_dim=40",
    "q_len=90 kv_len=300 left=20 right=3 sink_tokens=5",
    "q_len=70 kv_len=70 head_dim=256",
    "q_len=33 kv_len=40 head_dim=512",
    "q_len=60 kv_len=150 scale=-0.3",
    "q_len=60 kv_len=150 softcap=3",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 alibi=head",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 alibi=batch positions=1 "
    "mask=causal",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=fp32",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=fp16 bias_dims=hq",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=bf16 bias_dims=bq",
    "batch=3 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=fp32 bias_dims=",
    "batch=2 q_len=60 kv_len=150 q_heads=2 head_dim=24 sinks=1 mask=causal",
    "batch=2 q_len=60 kv_len=150 q_heads=2 head_dim=24 dropout=0.3",
    "q=ragged kv=ragged q_lens=60,0,17 kv_lens=90,13,0 q_heads=2 mask=causal",
    "batch=3 q_len=40 kv_lens=100,30,0 cache_row=1 left_pad=1 order=padded",
    "q_lens=40,3 kv_len=60 mask=causal order=bhsd",
    // tanh near 1, whose last digit is most of 1 - tanh^2.
    "q_len=15 kv_lens=8,19,0,24 kv_len=51 q_heads=9 kv_heads=3 head_dim=40 softcap=2 dropout=0.9 "
    "values=outliers seed=95742",
    // Exponents S - lse that are exact, which a kernel's, in base 2, are not.
    "batch=3 q_len=1 kv_len=145 head_dim=16 left=2 right=94 sink_tokens=4 softcap=2 sinks=1 "
    "dropout=0.1 values=outliers seed=69124",
    // Two rounds: 240 rows in tiles of 192, and 1024 keys a segment.
    "q_len=120 kv_len=2100 mask=causal q_heads=2 kv_heads=1 head_dim=16",
    // Heads that share d_bias take turns.
    "q_len=40 kv_len=300 head_dim=24 bias=fp32 bias_dims= q_heads=4 kv_heads=2 softcap=5 sinks=1 "
    "dropout=0.2 alibi=head",
};

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

INSTANTIATE_TEST_SUITE_P(Features, Backward, testing::ValuesIn(kFeatures));

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

TEST_P(BackwardGrowth, StaysWithTheYardstick) {
  const auto ratio_at = [&](int length) {
    const std::string long_side = GetParam();
    const std::string text = "direction=backward " + long_side + "=" + std::to_string(length) +
                             (long_side == "q_len" ? " kv_len=24" : " q_len=24");
    const Attempt made = attempt(case_of(text), usual());
    EXPECT_TRUE(made.verdict.passed) << text << ": " << made.verdict.sentence;
    return made.verdict.ratio;
  };
  const double shorter = ratio_at(512);
  for (const int length : {2048, 20480}) {
    EXPECT_LE(ratio_at(length), std::max(1.25 * shorter, 1.1 / 1.3)) << length;
  }
}

INSTANTIATE_TEST_SUITE_P(Sides, BackwardGrowth, testing::Values("q_len", "kv_len"));

}  // namespace
}  // namespace rapt::kit
