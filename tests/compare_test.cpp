// SPDX-License-Identifier: Apache-2.0 OR MIT
// The judge itself: right answers pass, each kind of wrong answer is found and named.
#include "kit/compare.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kit/attempt.h"
#include "kit/cases.h"
#include "kit/numbers.h"
#include "kit/workload.h"

namespace rapt::kit {
namespace {

// A computed workload, to be spoilt.
struct Answer {
  explicit Answer(const std::string& text) : workload(case_of(text)) {
    EXPECT_EQ(rapt_attend(&workload.attention(), nullptr), RAPT_OK) << rapt_error_message();
    EXPECT_EQ(check(workload).sentence, "");
  }

  [[nodiscard]] std::string sentence() const { return check(workload).sentence; }

  void set(const rapt_tensor& t, std::int64_t offset, double value) const {
    store(t.data, t.dtype, offset, value);
  }
  [[nodiscard]] double get(const rapt_tensor& t, std::int64_t offset) const {
    return load(t.data, t.dtype, offset);
  }

  Workload workload;
  const rapt_tensor& out = workload.attention().out;
  const rapt_tensor& lse = workload.attention().lse;
};

TEST(Compare, FindsOneElementThatIsOff) {
  const Answer a("q_len=20 kv_len=40 q_heads=2");
  const std::int64_t offset = 7 * a.out.strides[1] + 1 * a.out.strides[2] + 3;
  a.set(a.out, offset, a.get(a.out, offset) + 1e-4);
  EXPECT_EQ(a.sentence().rfind("out: sequence 0, head 1, query 7 is ", 0), 0) << a.sentence();
}

TEST(Compare, FindsAnErrorThatOnlyTheAverageShows) {
  const Answer a("dtype=bf16 out_dtype=fp32 q_len=128 kv_len=300");
  // Half the largest error of BF16 probabilities here, whether or not this kernel rounds them.
  const double planted = 4.5e-4;
  for (std::int64_t n = 0; n < 128 * 64; ++n) {
    a.set(a.out, n, a.get(a.out, n) + (n % 2 ? planted : -planted));
  }
  EXPECT_NE(a.sentence().find("RMS error"), std::string::npos) << a.sentence();
}

TEST(Compare, FindsAWrongLse) {
  const Answer a("q_len=20 kv_len=40");
  a.set(a.lse, 4, a.get(a.lse, 4) + 1e-4);
  EXPECT_EQ(a.sentence().rfind("lse: sequence 0, head 0, query 4 is ", 0), 0) << a.sentence();
}

TEST(Compare, FindsRowsThatWereNotWritten) {
  Answer a("q_len=20 kv_len=40");
  a.workload.poison_outputs();
  EXPECT_NE(a.sentence().find(" is nan, should be "), std::string::npos) << a.sentence();
}

TEST(Compare, FindsPaddingAndEmptyRowsThatAreNotEmpty) {
  const Answer padded("batch=1 q_len=5 q_lens=3 kv_len=9");
  padded.set(padded.out, 4 * padded.out.strides[1], 1);
  EXPECT_EQ(padded.sentence(), "out: sequence 0, head 0, query 4 sees no key and is not 0");
  const Answer empty("q_len=5 kv_len=2 mask=causal");
  empty.set(empty.lse, 0, -1e30);
  EXPECT_EQ(empty.sentence(), "lse: sequence 0, head 0, query 0 sees no key and is not -inf");
}

TEST(Compare, FindsALostNan) {
  const Answer a("values=nan q_len=1 kv_len=40 q_heads=8 kv_heads=8 seed=1");
  std::int64_t lost = 0;
  for (std::int64_t n = 0; n < 8 * 64; ++n) {
    if (!std::isnan(a.get(a.out, n))) continue;
    a.set(a.out, n, 0);
    ++lost;
  }
  ASSERT_GT(lost, 0);
  EXPECT_NE(a.sentence().find("is finite, and a NaN or infinity that it sees is lost"),
            std::string::npos)
      << a.sentence();
}

TEST(Compare, FindsWritesBetweenElements) {
  const Answer a("order=padded q_len=4 kv_len=9");
  a.set(a.out, 64, 1);  // right behind the first row
  EXPECT_EQ(a.sentence(), "out: memory between its elements was written");
}

TEST(Compare, FindsInputsThatWereWritten) {
  const Answer a("q_len=4 kv_len=9");
  a.set(a.workload.attention().k, 0, 1);
  EXPECT_EQ(a.sentence(), "inputs: their memory was written");
}

TEST(Compare, SampledRowsIncludeTheFirstAndTheLast) {
  for (const std::int64_t query : {0, 99}) {
    const Answer a("q_len=100 kv_len=100");
    a.set(a.out, query * a.out.strides[1], 1e3);
    EXPECT_FALSE(check(a.workload, {4}).passed) << query;
  }
}

TEST(Compare, MinimiseKeepsWhatTheFailureNeeds) {
  const Case c = case_of(
      "dtype=bf16 batch=3 q_len=40 kv_len=500 q_heads=4 kv_heads=2 mask=causal "
      "softcap=20 alibi=head page_size=16 order=padded");
  const auto fails = [](const Case& simpler) {
    return simpler.softcap != 0 && simpler.kv_len > 60;
  };
  EXPECT_EQ(print_case(minimise(c, fails, 200)), "q_len=0 kv_len=61 head_dim=8 softcap=20");
}

TEST(Numbers, RoundTripEveryCode) {
  for (const rapt_dtype dtype : {RAPT_FP16, RAPT_BF16, RAPT_FP8_E4M3, RAPT_FP8_E5M2}) {
    const std::uint32_t codes = dtype_bytes(dtype) == 1 ? 256 : 65536;
    for (std::uint32_t code = 0; code < codes; ++code) {
      std::uint32_t back = 0;
      const double x = load(&code, dtype, 0);
      store(&back, dtype, 0, x);
      if (std::isnan(x)) {
        EXPECT_TRUE(std::isnan(load(&back, dtype, 0))) << dtype << " " << code;
      } else {
        EXPECT_EQ(back, code) << dtype;
      }
    }
  }
}

TEST(Numbers, RoundToNearestTiesToEven) {
  EXPECT_EQ(round_to(RAPT_BF16, 1 + 0x1p-8f), 1);
  EXPECT_EQ(round_to(RAPT_BF16, 1 + 0x1.8p-7f), 1 + 0x1p-6f);
  EXPECT_EQ(round_to(RAPT_FP16, 1 + 0x1p-11f), 1);
  EXPECT_EQ(round_to(RAPT_FP16, 1 + 0x1.8p-10f), 1 + 0x1p-9f);
  EXPECT_EQ(round_to(RAPT_FP16, 65519), 65504);
  EXPECT_EQ(round_to(RAPT_FP16, 65520), INFINITY);
  EXPECT_EQ(round_to(RAPT_FP16, 0x1p-25f), 0);
  EXPECT_EQ(round_to(RAPT_FP16, 0x1.8p-25f), 0x1p-24f);
}

}  // namespace
}  // namespace rapt::kit
