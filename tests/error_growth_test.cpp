// SPDX-License-Identifier: Apache-2.0 OR MIT
// Errors at 512 to 20,480 keys, measured by the yardstick's at the same length: they must not grow
// faster.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "kit/cases.h"
#include "kit/compare.h"
#include "kit/kernels.h"
#include "kit/workload.h"

namespace rapt::kit {
namespace {

// An answer with just the yardstick's RMS error stands at 1 / 1.3 of what is allowed (compare.cpp);
// a tenth more is within what 24 sampled rows scatter.
constexpr double kLikeTheYardstick = 1.1 / 1.3;

struct Growth : testing::TestWithParam<const char*> {};

double ratio_at(const std::string& text, const std::string& kernel) {
  const rapt_options options = force(kernel);
  const Workload workload(case_of(text));
  EXPECT_EQ(rapt_attend(&workload.attention(), &options), RAPT_OK) << rapt_error_message();
  const Verdict verdict = check(workload, {24});
  EXPECT_TRUE(verdict.passed) << text << " on " << kernel << ": " << verdict.sentence;
  return verdict.ratio;
}

TEST_P(Growth, StaysWithTheYardstick) {
  for (const std::string& kernel : runnable_kernels()) {
    const auto at = [&](int length) {
      return ratio_at("kv_len=" + std::to_string(length) + " " + GetParam(), kernel);
    };
    const double shorter = at(512);
    for (const int length : {2048, 8192, 20480}) {
      EXPECT_LE(at(length), std::max(1.25 * shorter, kLikeTheYardstick))
          << kernel << ", " << length << " keys";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Growth,
                         testing::Values("q_len=96 mask=causal", "q_len=96 values=offset",
                                         "dtype=fp16 out_dtype=fp32 q_len=96 head_dim=128",
                                         "dtype=bf16 out_dtype=fp32 q_len=96 mask=causal",
                                         "dtype=bf16 out_dtype=fp32 q_len=96 values=offset",
                                         "dtype=bf16 q_len=4 q_heads=8 kv_heads=2"));

}  // namespace
}  // namespace rapt::kit
