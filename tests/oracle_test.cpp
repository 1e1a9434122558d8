// SPDX-License-Identifier: Apache-2.0 OR MIT
// The oracle against what is known otherwise: published random numbers, attention by hand, and
// finite differences for its gradient.
#include "kit/oracle.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kit/cases.h"
#include "kit/gather.h"
#include "kit/random.h"
#include "kit/workload.h"

namespace rapt::kit::oracle {
namespace {

using Words = std::array<std::uint32_t, 4>;

// Known answers of the Random123 distribution (kat_vectors, philox4x32, 10 rounds).
TEST(Oracle, PhiloxGivesThePublishedAnswers) {
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}, 10),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}, 10),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, 10),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Ten rounds are seven rounds and three more under the key as the seventh left it.
TEST(Oracle, PhiloxRoundsCompose) {
  const Words counter = {1, 2, 3, 4};
  const std::array<std::uint32_t, 2> key = {5, 6};
  const std::array<std::uint32_t, 2> after_seven = {5 + 7 * 0x9E3779B9u, 6 + 7 * 0xBB67AE85u};
  EXPECT_EQ(philox(philox(counter, key, 7), after_seven, 3), philox(counter, key, 10));
}

Model small_model(Int dim) {
  Model m;
  m.head_dim = m.value_dim = dim;
  return m;
}

TEST(Oracle, WeighsValuesByTheSoftmax) {
  const Model m = small_model(1);
  const Sequence s{
      .q_len = 1, .kv_len = 2, .q_start = 1, .q = {1}, .k = {0, std::log(3.0)}, .v = {8, 4}};
  const Row row = forward(m, s, 0, 0);
  EXPECT_DOUBLE_EQ(row.out[0], 0.25 * 8 + 0.75 * 4);
  EXPECT_DOUBLE_EQ(row.lse, std::log(4.0));
}

TEST(Oracle, SinkTakesAShareAndGivesNothing) {
  Model m = small_model(1);
  m.sinks = {std::log(4.0)};
  const Sequence s{
      .q_len = 1, .kv_len = 2, .q_start = 1, .q = {1}, .k = {0, std::log(3.0)}, .v = {8, 4}};
  const Row row = forward(m, s, 0, 0);
  EXPECT_DOUBLE_EQ(row.out[0], 0.5 * (0.25 * 8 + 0.75 * 4));
  EXPECT_DOUBLE_EQ(row.lse, std::log(8.0));
}

TEST(Oracle, ScoresTakeCapThenSlopeThenBias) {
  Model m = small_model(1);
  m.scale = 2;
  m.softcap = 5;
  m.slopes = {0.5};
  m.bias = {0.25};
  const Sequence s{.q_len = 1, .kv_len = 1, .q_start = 3, .q = {3}, .k = {4}, .v = {1}};
  EXPECT_DOUBLE_EQ(forward(m, s, 0, 0).lse, 5 * std::tanh(24.0 / 5) - 0.5 * 3 + 0.25);
}

TEST(Oracle, RowsWithoutAScoreAreEmpty) {
  Model m = small_model(1);
  m.bias = {-INFINITY};
  const Sequence s{.q_len = 1, .kv_len = 1, .q = {1}, .k = {1}, .v = {NAN}};
  EXPECT_EQ(forward(m, s, 0, 0).lse, -INFINITY);
  EXPECT_EQ(forward(m, s, 0, 0).out[0], 0);
  m.bias.clear();
  m.right = 0;
  const Sequence ahead{.q_len = 1, .kv_len = 1, .q_start = -1, .q = {1}, .k = {1}, .v = {1}};
  EXPECT_EQ(forward(m, ahead, 0, 0).lse, -INFINITY);
}

TEST(Oracle, NanReachesThoseWhoSeeIt) {
  Model m = small_model(1);
  m.right = 0;
  const Sequence s{.q_len = 2, .kv_len = 2, .q = {1, 1}, .k = {1, NAN}, .v = {1, 1}};
  EXPECT_EQ(forward(m, s, 0, 0).out[0], 1);
  EXPECT_TRUE(std::isnan(forward(m, s, 0, 1).out[0]));
  EXPECT_TRUE(std::isnan(forward(m, s, 0, 1).lse));
}

TEST(Oracle, DropoutKeepsTheShareItPromises) {
  Model m = small_model(1);
  m.dropout_keep = 64;
  m.dropout_seed = 9;
  const Sequence s{.q_start = 5, .kv_start = -100};
  double kept = 0;
  constexpr Int kKeys = 40000;
  for (Int j = 0; j < kKeys; ++j) kept += dropout_factor(m, s, 0, 3, j) / 4;
  EXPECT_NEAR(kept / kKeys, 0.25, 0.01);
}

TEST(Oracle, DropoutServesSixteenKeyPositionsByOneCall) {
  Model m = small_model(1);
  m.q_heads = 2;
  m.dropout_keep = 128;
  m.dropout_seed = 0x0000000600000005;
  m.dropout_offset = 0x100000007;  // its low 32 bits count
  const Sequence s{.index = 3, .q_start = 11, .kv_start = -20};
  // Key 7 stands at -13: group -1, byte 3.
  const Words words = philox({0xffffffff, 11 + 2, 3 * 2 + 1, 7}, {5, 6}, 7);
  EXPECT_EQ(dropout_factor(m, s, 1, 2, 7), (words[0] >> 24) < 128 ? 2 : 0);
}

// ---- the gradient

struct Gradients : testing::TestWithParam<const char*> {};

double loss(const Model& m, const Sequence& s, const Array& d_out) {
  double sum = 0;
  for (Int i = 0; i < s.q_len; ++i) {
    for (Int h = 0; h < m.q_heads; ++h) {
      const Row row = forward(m, s, h, i);
      const Int first = (i * m.q_heads + h) * m.value_dim;
      for (Int d = 0; d < m.value_dim; ++d) {
        sum += row.out[static_cast<std::size_t>(d)] * d_out[static_cast<std::size_t>(first + d)];
      }
    }
  }
  return sum;
}

// Compares one array's gradient with central differences. `array` belongs to `m` or to one of
// `all`.
void compare(const Model& m, const std::vector<Sequence>& all, const std::vector<Array>& d_outs,
             Array& array, const Array& gradient) {
  const auto total = [&] {
    double sum = 0;
    for (std::size_t b = 0; b < all.size(); ++b) sum += loss(m, all[b], d_outs[b]);
    return sum;
  };
  constexpr double kStep = 1e-5;
  for (std::size_t n = 0; n < array.size(); ++n) {
    const double x = array[n];
    if (!std::isfinite(x)) continue;
    array[n] = x + kStep;
    const double above = total();
    array[n] = x - kStep;
    const double below = total();
    array[n] = x;
    ASSERT_NEAR(gradient[n], (above - below) / (2 * kStep), 1e-7) << "element " << n;
  }
}

TEST_P(Gradients, AreFiniteDifferences) {
  const Workload workload(case_of(GetParam()));
  Model m = gather_model(workload.attention());
  std::vector<Sequence> all;
  std::vector<Array> d_outs;
  Random random(1, 1);
  for (Int b = 0; b < batch_of(workload.attention()); ++b) {
    all.push_back(gather(workload.attention(), b).sequence);
    Array& d_out = d_outs.emplace_back(all.back().q_len * m.q_heads * m.value_dim);
    for (double& x : d_out) x = random.normal();
  }
  Gradient shared = zero_gradient(m, all[0]);
  std::vector<Gradient> own;
  for (std::size_t b = 0; b < all.size(); ++b) {
    Gradient g = zero_gradient(m, all[b]);
    g.d_bias = shared.d_bias;
    g.d_sinks = shared.d_sinks;
    g.d_slopes = shared.d_slopes;
    backward(m, all[b], d_outs[b], g);
    own.push_back(shared = g);
  }
  for (std::size_t b = 0; b < all.size(); ++b) {
    compare(m, all, d_outs, all[b].q, own[b].dq);
    compare(m, all, d_outs, all[b].k, own[b].dk);
    compare(m, all, d_outs, all[b].v, own[b].dv);
  }
  compare(m, all, d_outs, m.bias, shared.d_bias);
  compare(m, all, d_outs, m.sinks, shared.d_sinks);
  compare(m, all, d_outs, m.slopes, shared.d_slopes);
}

INSTANTIATE_TEST_SUITE_P(
    Features, Gradients,
    testing::Values(
        "q_len=3 kv_len=5 head_dim=8",
        "q_len=3 kv_len=5 head_dim=8 value_dim=16 q_heads=4 kv_heads=2",
        "q_len=4 kv_len=6 head_dim=8 mask=causal softcap=2",
        "q_len=6 kv_len=6 head_dim=8 left=2 right=1 sink_tokens=1 scale=0.7",
        "q_len=5 kv_len=3 head_dim=8 mask=causal sinks=1 q_heads=2",  // rows that see nothing
        "batch=2 q_len=3 kv_len=4 head_dim=8 q_heads=2 alibi=head",
        "batch=2 q_len=3 kv_len=4 head_dim=8 q_heads=2 alibi=batch positions=1",
        "batch=2 q_len=3 kv_len=4 head_dim=8 q_heads=2 bias=fp32",
        "batch=2 q_len=3 kv_len=4 head_dim=8 q_heads=2 bias=fp32 bias_dims=h",
        "batch=2 q_len=3 kv_len=4 head_dim=8 q_heads=2 bias=fp32 bias_dims=",
        "q_len=4 kv_len=20 head_dim=8 dropout=0.5",
        "batch=2 q_len=3 kv_len=9 head_dim=8 q_heads=4 kv_heads=2 mask=causal softcap=3 alibi=head "
        "bias=fp32 bias_dims=hq sinks=1 dropout=0.25 q=ragged page_size=2 q_lens=3,2 kv_lens=9,4"));

}  // namespace
}  // namespace rapt::kit::oracle
