// SPDX-License-Identifier: Apache-2.0 OR MIT
// merge of the CPU backend against the same sums in double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "backend/cpu/cache.h"
#include "elements.h"

namespace rapt::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr std::int64_t kBatch = 2, kTokens = 3, kMergeHeads = 2, kParts = 3;

template <class Element>
class MergeOf : public testing::Test {};
TYPED_TEST_SUITE(MergeOf, Elements);

template <class Element>
struct Merge {
  std::int64_t dim;
  std::vector<Values<Element>> out;
  std::vector<std::vector<float>> lse;
  Values<Element> merged;
  std::vector<float> merged_lse;
  MergeJob job;

  explicit Merge(std::int64_t width) : dim(width) {
    const std::int64_t rows = kBatch * kTokens * kMergeHeads;
    for (std::uint32_t part = 0; part < kParts; ++part) {
      out.push_back(random_values<Element>(rows * dim, part));
      lse.push_back(random_values<Fp32>(rows, 10 + part));
    }
    merged.resize(out[0].size());
    merged_lse.resize(lse[0].size());
    job.dtype = dtype_of<Element>();
    job.batch = kBatch, job.tokens = kTokens, job.heads = kMergeHeads, job.dim = dim;
    for (std::size_t part = 0; part < kParts; ++part) {
      job.out.push_back(out_rows(out[part].data()));
      job.lse.push_back(lse_rows(lse[part].data()));
    }
    job.merged_out = out_rows(merged.data());
    job.merged_lse = lse_rows(merged_lse.data());
  }

  [[nodiscard]] Rows out_rows(void* data) const {  // [batch, token, head, dim]
    return {data, kTokens * kMergeHeads * dim, kMergeHeads * dim, dim};
  }
  [[nodiscard]] Rows lse_rows(void* data) const {  // [batch, head, token]
    return {data, kMergeHeads * kTokens, 1, kTokens};
  }

  // Row r of out stands at this place of lse.
  static std::size_t lse_place(std::size_t r) {
    const std::size_t head = r % kMergeHeads, token = r / kMergeHeads % kTokens;
    return (r / (kMergeHeads * kTokens) * kMergeHeads + head) * kTokens + token;
  }

  // Weights of the parts of row r in double, and their lse.
  [[nodiscard]] std::vector<double> weights(std::size_t r, double& total) const {
    std::vector<double> w;
    double sum = 0;
    for (const std::vector<float>& part : lse) sum += std::exp(double{part[lse_place(r)]});
    for (const std::vector<float>& part : lse) {
      w.push_back(sum == 0 ? 0 : std::exp(double{part[lse_place(r)]}) / sum);
    }
    total = std::log(sum);
    return w;
  }
};

TYPED_TEST(MergeOf, WeighsPartsByTheirLse) {
  for (const std::int64_t dim : {8, 64, 136}) {
    Merge<TypeParam> merge_case(dim);
    ASSERT_TRUE(merge(merge_case.job, {}).ok());
    for (std::size_t i = 0; i < merge_case.merged.size(); ++i) {
      const std::size_t row = i / static_cast<std::size_t>(dim);
      double lse = 0, want = 0;
      const std::vector<double> w = merge_case.weights(row, lse);
      for (std::size_t p = 0; p < kParts; ++p) {
        want += w[p] * double{TypeParam::load(merge_case.out[p][i])};
      }
      expect_near<TypeParam>(merge_case.merged[i], want);
      ASSERT_NEAR(merge_case.merged_lse[Merge<TypeParam>::lse_place(row)], lse, 1e-6);
    }
  }
}

TEST(Merge, InPlaceGivesTheSameBits) {
  Merge<Bf16> apart(136), in_place(136);
  in_place.job.merged_out = in_place.job.out[1];
  in_place.job.merged_lse = in_place.job.lse[2];
  ASSERT_TRUE(merge(apart.job, {}).ok());
  ASSERT_TRUE(merge(in_place.job, {}).ok());
  EXPECT_EQ(in_place.out[1], apart.merged);
  EXPECT_EQ(in_place.lse[2], apart.merged_lse);
}

TEST(Merge, PartsThatSawNoKeyTakeNoPart) {
  Merge<Fp32> merge_case(8);
  for (float& lse : merge_case.lse[0]) lse = -kInfinity;
  for (float& lse : merge_case.lse[2]) lse = -kInfinity;
  for (float& value : merge_case.out[0]) value = std::nanf("");
  ASSERT_TRUE(merge(merge_case.job, {}).ok());
  EXPECT_EQ(merge_case.merged, merge_case.out[1]);
  EXPECT_EQ(merge_case.merged_lse, merge_case.lse[1]);
}

TEST(Merge, RowsThatNoPartSawAreZero) {
  Merge<Fp32> merge_case(8);
  for (auto& part : merge_case.lse) std::ranges::fill(part, -kInfinity);
  ASSERT_TRUE(merge(merge_case.job, {}).ok());
  EXPECT_EQ(merge_case.merged, std::vector<float>(merge_case.merged.size(), 0.0F));
  EXPECT_EQ(merge_case.merged_lse, std::vector<float>(merge_case.merged_lse.size(), -kInfinity));
}

TEST(Merge, LargeLseNeitherOverflowNorVanish) {
  Merge<Fp32> merge_case(8);
  for (auto& part : merge_case.lse) std::ranges::fill(part, 500.0F);
  for (auto& part : merge_case.out) std::ranges::fill(part, 3.0F);
  ASSERT_TRUE(merge(merge_case.job, {}).ok());
  for (const float value : merge_case.merged) ASSERT_NEAR(value, 3.0F, 1e-6F);
  for (const float lse : merge_case.merged_lse) ASSERT_NEAR(lse, 500 + std::log(3.0F), 1e-4F);
}

TEST(Merge, NanLseReachesItsRowAlone) {
  Merge<Fp32> merge_case(8);
  merge_case.lse[1][0] = std::nanf("");
  ASSERT_TRUE(merge(merge_case.job, {}).ok());
  for (std::size_t i = 0; i < merge_case.merged.size(); ++i) {
    ASSERT_EQ(std::isnan(merge_case.merged[i]), i < 8);
  }
  EXPECT_TRUE(std::isnan(merge_case.merged_lse[0]));
  EXPECT_FALSE(std::isnan(merge_case.merged_lse[1]));
}

TEST(Merge, LseIsOptionalAndOtherTypesAreRefused) {
  Merge<Fp32> merge_case(8);
  merge_case.job.merged_lse = {};
  EXPECT_TRUE(merge(merge_case.job, {}).ok());
  merge_case.job.dtype = DType::int8;
  EXPECT_EQ(merge(merge_case.job, {}).sentence(), "out: merge takes fp32, fp16 or bf16");
}

}  // namespace
}  // namespace rapt::cpu
