// SPDX-License-Identifier: Apache-2.0 OR MIT
// The grammar of cases: what it reads, what it prints, what it refuses and how it counts.
#include "kit/case.h"

#include <gtest/gtest.h>

#include "kit/cases.h"
#include "kit/generator.h"

namespace rapt::kit {
namespace {

std::string refusal(const std::string& text) {
  Case c;
  return parse_case(text, c);
}

TEST(Case, DefaultsFollowFromWhatIsGiven) {
  const Case c = case_of("q_len=7 q_heads=6 head_dim=40 dtype=bf16");
  EXPECT_EQ(c.kv_len, 7);
  EXPECT_EQ(c.kv_heads, 6);
  EXPECT_EQ(c.value_dim, 40);
  EXPECT_EQ(c.out_dtype, RAPT_BF16);
}

TEST(Case, LengthsImplyBatchAndTheLongest) {
  const Case c = case_of("q_lens=3,0,5 kv_lens=10,20,0");
  EXPECT_EQ(c.batch, 3);
  EXPECT_EQ(c.q_len, 5);
  EXPECT_EQ(c.kv_len, 20);
}

TEST(Case, SidesImplyABandAndPagesImplyPaged) {
  EXPECT_EQ(case_of("left=3").mask, "band");
  EXPECT_EQ(case_of("left=3").right, RAPT_UNBOUNDED);
  EXPECT_EQ(case_of("page_size=64").kv, "paged");
  EXPECT_EQ(case_of("kv=paged").page_size, 16);
}

TEST(Case, PrintsNothingForTheDefaultCase) {
  EXPECT_EQ(print_case(case_of("")), "");
  EXPECT_EQ(print_case(case_of("q_len=128 kv_len=128 mask=full batch=1")), "");
}

TEST(Case, PrintsTheShortestText) {
  EXPECT_EQ(print_case(case_of("batch=2 q_lens=3,5 q_len=5 mask=band left=4 right=inf")),
            "left=4 q_lens=3,5");
  EXPECT_EQ(print_case(case_of("kv=paged page_size=64 scale=0.25")), "scale=0.25 page_size=64");
}

TEST(Case, NamedAndDrawnCasesSurvivePrinting) {
  for (const NamedCase& named : named_cases()) {
    const std::string text = print_case(case_of(named.text));
    EXPECT_EQ(print_case(case_of(text)), text) << named.name;
  }
  Generator generator(11);
  Coverage coverage;
  for (int n = 0; n < 500; ++n) {
    const Case drawn = generator.next(coverage);
    const Case read = case_of(print_case(drawn));
    EXPECT_EQ(print_case(read), print_case(drawn));
    EXPECT_EQ(features_of(read), features_of(drawn)) << print_case(drawn);
  }
}

TEST(Case, RefusalsBeginWithTheKey) {
  EXPECT_EQ(refusal("colour=red"), "colour: no such key");
  EXPECT_EQ(refusal("q_len"), "q_len: no value; wanted q_len=VALUE");
  EXPECT_EQ(refusal("q_len=3 q_len=4"), "q_len: given twice");
  EXPECT_EQ(refusal("q_len=3x"), "q_len: is \"3x\", wanted an integer of at least 0");
  EXPECT_EQ(refusal("q_heads=0"), "q_heads: is \"0\", wanted an integer of at least 1");
  EXPECT_EQ(refusal("left=-1"), "left: is \"-1\", wanted an integer of at least 0, or inf");
  EXPECT_EQ(refusal("sinks=yes"), "sinks: is \"yes\", wanted 0 or 1");
  EXPECT_EQ(refusal("scale=big"), "scale: is \"big\", wanted a number");
  EXPECT_EQ(refusal("seed=-1"), "seed: is \"-1\", wanted an unsigned integer");
  EXPECT_EQ(refusal("dtype=fp64"),
            "dtype: is \"fp64\", wanted one of fp32|fp16|bf16|fp8_e4m3|fp8_e5m2");
  EXPECT_EQ(refusal("mask=none"), "mask: is \"none\", wanted one of full|causal|band");
  EXPECT_EQ(refusal("q_lens=1,,2"), "q_lens: is \"1,,2\", wanted lengths of at least 0, as 3,0,5");
}

TEST(Case, RefusesWhatNoTensorsCanBeMadeFor) {
  EXPECT_EQ(refusal("mask=causal left=3"), "left: mask is causal, wanted band");
  EXPECT_EQ(refusal("kv=dense page_size=16"), "page_size: kv is dense, wanted paged");
  EXPECT_EQ(refusal("kv=paged page_size=0"), "page_size: is 0, wanted at least 1");
  EXPECT_EQ(refusal("layout=x_packed"), "layout: kv is dense, wanted paged");
  EXPECT_EQ(refusal("batch=3 q_lens=1,2"), "q_lens: has 2 lengths, batch is 3");
  EXPECT_EQ(refusal("kv_len=9 kv_lens=1,20"), "kv_lens: holds 20, the longest may be 9");
}

TEST(Case, CountsVisibleScores) {
  EXPECT_EQ(case_scores(case_of("q_len=10 kv_len=20 q_heads=3")), 600);
  EXPECT_EQ(case_scores(case_of("q_len=10 mask=causal")), 55);
  EXPECT_EQ(case_scores(case_of("q_len=10 left=0 right=0")), 10);
  EXPECT_EQ(case_scores(case_of("q_len=3 kv_len=1 mask=causal")), 1);  // two rows see nothing
  EXPECT_EQ(case_flops(case_of("q_len=10 head_dim=8 value_dim=24")), 2 * 32 * 100);
}

TEST(Case, ClosedFormOfVisibleKeysIsThatOfTheMask) {
  Generator generator(5);
  Coverage coverage;
  for (int n = 0; n < 300; ++n) {
    const Case c = generator.next(coverage);
    for (const CaseSequence& s : case_sequences(c)) {
      std::vector<bool> needed(static_cast<std::size_t>(s.kv_len));
      for (std::int64_t i = 0; i < s.q_len; ++i) {
        std::int64_t count = 0;
        for (std::int64_t j = 0; j < s.kv_len; ++j) {
          if (!case_sees(c, s, i, j)) continue;
          needed[static_cast<std::size_t>(j)] = true;
          ++count;
        }
        ASSERT_EQ(case_visible_keys(c, s, i), count) << print_case(c) << ", query " << i;
      }
      for (std::int64_t j = 0; j < s.kv_len; ++j) {
        ASSERT_EQ(case_needs(c, s, j), needed[static_cast<std::size_t>(j)]) << print_case(c);
      }
    }
  }
}

TEST(Case, BytesCountKeysThatSomeQuerySees) {
  // One query of a window of 16 keys: q, out and lse, and 16 keys and values of the 1000.
  const Case c = case_of("q_len=1 kv_len=1000 left=15 right=0 head_dim=8");
  EXPECT_EQ(case_bytes(c), 8 * 4 + 8 * 4 + 4 + 16 * 2 * 8 * 4);
}

// What `rapt verify --count 5000` promises, without running a kernel.
TEST(Generator, CoversEveryLegalPairOfFeatures) {
  Generator generator(1);
  Coverage coverage;
  for (int n = 0; n < 5000; ++n) coverage.add(generator.next(coverage));
  const std::vector<std::string>& names = feature_names();
  for (std::size_t a = 0; a < names.size(); ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      if (legal_pair(a, b)) {
        EXPECT_GE(coverage.count(a, b), 30) << names[a] << " and " << names[b];
      } else {
        EXPECT_EQ(coverage.count(a, b), 0) << names[a] << " and " << names[b];
      }
    }
  }
  EXPECT_GE(coverage.long_share(), 0.3);
  EXPECT_GE(coverage.wide_share(), 0.1);
}

TEST(Generator, GivesTheSameProblemsForASeed) {
  Generator a(3), b(3), c(4);
  const Coverage none;
  const std::string first = print_case(a.next(none));
  EXPECT_EQ(first, print_case(b.next(none)));
  EXPECT_NE(first, print_case(c.next(none)));
}

}  // namespace
}  // namespace rapt::kit
