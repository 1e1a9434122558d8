// SPDX-License-Identifier: Apache-2.0 OR MIT
// NaN, infinities and emptiness, by hand and on every kernel: what must reach a query does, and
// nothing else.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kit/attempt.h"
#include "kit/cases.h"
#include "kit/gather.h"
#include "kit/kernels.h"
#include "kit/numbers.h"
#include "kit/workload.h"

namespace rapt::kit {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// A dense workload of one sequence whose keys and values a test spoils before it is run.
class Spoilt {
 public:
  Spoilt(const std::string& text, const std::string& kernel)
      : workload_(case_of(text)), options_(force(kernel)) {}

  void key(std::int64_t token, double value) { set(workload_.attention().k, token, value); }
  void value(std::int64_t token, double value) { set(workload_.attention().v, token, value); }
  void bias(std::int64_t query, std::int64_t token, double value) {
    const rapt_tensor& t = workload_.attention().bias->bias;
    store(t.data, t.dtype, query * t.strides[2] + token, value);
  }

  void run() {
    ASSERT_EQ(rapt_attend(&workload_.attention(), &options_), RAPT_OK) << rapt_error_message();
  }

  // The first element of a query's output, head 0.
  [[nodiscard]] double out(std::int64_t query) const { return answer(query).out[0]; }
  [[nodiscard]] double lse(std::int64_t query) const { return answer(query).lse; }

 private:
  // Element 0 of head 0.
  static void set(const rapt_tensor& t, std::int64_t token, double value) {
    store(t.data, t.dtype, token * t.strides[1], value);
  }

  [[nodiscard]] oracle::Row answer(std::int64_t query) const {
    const rapt_attention& problem = workload_.attention();
    return gather_answer(problem, gather(problem, 0), 0, query);
  }

  Workload workload_;
  rapt_options options_;
};

class SpecialValues : public testing::TestWithParam<std::string> {};

TEST_P(SpecialValues, NanInAKeyReachesEveryQueryThatSeesIt) {
  for (const char* dtype : {"fp32", "fp16", "bf16"}) {
    for (const std::int64_t token : {0, 63, 64, 299}) {
      Spoilt problem(std::string("q_len=3 kv_len=300 dtype=") + dtype, GetParam());
      problem.key(token, kNan);
      problem.run();
      for (std::int64_t i = 0; i < 3; ++i) {
        EXPECT_TRUE(std::isnan(problem.out(i))) << dtype << ", key " << token;
        EXPECT_TRUE(std::isnan(problem.lse(i))) << dtype << ", key " << token;
      }
    }
  }
}

TEST_P(SpecialValues, NanInAValueReachesOutAndNotLse) {
  for (const std::int64_t token : {0, 64, 299}) {
    Spoilt problem("q_len=3 kv_len=300", GetParam());
    problem.value(token, kNan);
    problem.run();
    EXPECT_TRUE(std::isnan(problem.out(1))) << "key " << token;
    EXPECT_TRUE(std::isfinite(problem.lse(1))) << "key " << token;
  }
}

TEST_P(SpecialValues, NanThatNoQuerySeesReachesNothing) {
  for (const std::string mask :
       {"mask=causal", "left=10 right=0", "left=10 right=0 sink_tokens=2"}) {
    // Queries stand at 97 .. 99 of 100: keys 3 .. 86 are outside every window, none is behind the
    // last.
    Spoilt problem("q_len=3 kv_len=100 " + mask, GetParam());
    const bool window = mask != "mask=causal";
    for (std::int64_t token = 3; window && token < 87; ++token) {
      problem.key(token, kNan);
      problem.value(token, INFINITY);
    }
    problem.run();
    for (std::int64_t i = 0; i < 3; ++i) {
      EXPECT_TRUE(std::isfinite(problem.out(i))) << mask;
      EXPECT_TRUE(std::isfinite(problem.lse(i))) << mask;
    }
  }
}

TEST_P(SpecialValues, InfinityInAValueIsNotFiniteInOut) {
  Spoilt problem("q_len=2 kv_len=70", GetParam());
  problem.value(5, INFINITY);
  problem.run();
  EXPECT_FALSE(std::isfinite(problem.out(0)));
  EXPECT_TRUE(std::isfinite(problem.lse(0)));
}

TEST_P(SpecialValues, RowsHiddenByBiasAreEmpty) {
  for (const std::string more : {"", " mask=causal", " sinks=1", " dtype=bf16"}) {
    Spoilt problem("q_len=4 kv_len=200 bias=fp32" + more, GetParam());
    for (std::int64_t j = 0; j < 200; ++j) problem.bias(2, j, -INFINITY);
    problem.run();
    EXPECT_EQ(problem.out(2), 0) << more;
    EXPECT_EQ(problem.lse(2), -INFINITY) << more;
    EXPECT_TRUE(std::isfinite(problem.lse(3))) << more;
  }
}

TEST_P(SpecialValues, HugeScoresDoNotOverflow) {
  // Scores of some 1e30: exponentials of differences only.
  Spoilt problem("q_len=2 kv_len=130 scale=1e30", GetParam());
  problem.run();
  EXPECT_TRUE(std::isfinite(problem.out(0)));
  EXPECT_TRUE(std::isfinite(problem.lse(0)));
}

TEST_P(SpecialValues, AllScoresEqualGiveTheMean) {
  Spoilt problem("q_len=1 kv_len=256 head_dim=8 scale=1e-30", GetParam());
  for (std::int64_t j = 0; j < 256; ++j) problem.value(j, j % 2 ? 3 : 1);
  problem.run();
  EXPECT_FLOAT_EQ(static_cast<float>(problem.out(0)), 2);
  EXPECT_FLOAT_EQ(static_cast<float>(problem.lse(0)), static_cast<float>(std::log(256)));
}

// The random plants of the kit, with everything around them.
TEST_P(SpecialValues, PlantedNanAndInfinityAgreeWithTheOracle) {
  const rapt_options options = force(GetParam());
  for (const std::string values : {"nan", "inf"}) {
    for (const std::string where :
         {"kv_len=300", "page_size=16 kv_lens=300,7", "left_pad=1 kv_len=200",
          "q=ragged kv=ragged q_lens=3,9 kv_lens=100,150"}) {
      for (int seed = 1; seed <= 4; ++seed) {
        const std::string text =
            "batch=2 q_heads=4 kv_heads=2 head_dim=40 left=40 right=3 values=" + values +
            " seed=" + std::to_string(seed) + " " + where + (where[0] == 'q' ? "" : " q_len=9");
        const Attempt result = attempt(case_of(text), options);
        EXPECT_TRUE(result.verdict.passed) << text << ": " << result.verdict.sentence;
      }
    }
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& letter : name) letter = letter == '/' ? '_' : letter;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Kernels, SpecialValues, testing::ValuesIn(runnable_kernels()), test_name);

}  // namespace
}  // namespace rapt::kit
