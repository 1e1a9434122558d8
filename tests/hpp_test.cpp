// SPDX-License-Identifier: Apache-2.0 OR MIT
// The C++ face: every verb once, what the compiler must refuse, and that a run through it allocates
// nothing.
#include "rapt/rapt.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "allocations.h"

namespace {

using rapt::ConstTensorView;
using rapt::DType;
using rapt::TensorView;

// Who writes is said by the type.
static_assert(std::is_convertible_v<TensorView, ConstTensorView>);
static_assert(!std::is_convertible_v<ConstTensorView, TensorView>);
static_assert(!std::is_constructible_v<TensorView, ConstTensorView>);
static_assert(std::is_constructible_v<TensorView, float*, rapt::Shape>);
static_assert(!std::is_constructible_v<TensorView, const float*, rapt::Shape>);
static_assert(!std::is_constructible_v<TensorView, const void*, DType, rapt::Shape>);
static_assert(!std::is_constructible_v<TensorView, short*, rapt::Shape>);  // of no dtype
static_assert(!std::is_copy_constructible_v<rapt::Plan>);
static_assert(std::is_nothrow_move_constructible_v<rapt::Plan>);
static_assert(std::is_aggregate_v<rapt::Attention>);

// The masks mean what rapt.h says.
static_assert(rapt::Mask{}.left == RAPT_UNBOUNDED && rapt::Mask{}.right == RAPT_UNBOUNDED);
static_assert(rapt::Mask::causal().left == RAPT_UNBOUNDED && rapt::Mask::causal().right == 0);
static_assert(rapt::Mask::sliding(4).left == 3 && rapt::Mask::sliding(4).right == 0);

struct Tensors {
  std::vector<float> q = std::vector<float>(2 * 3 * 4 * 8, 0.5F);
  std::vector<float> k = std::vector<float>(2 * 3 * 2 * 8, 0.25F);
  std::vector<float> v = std::vector<float>(2 * 3 * 2 * 8);
  std::vector<float> out = std::vector<float>(2 * 3 * 4 * 8, -1);
  std::vector<float> lse = std::vector<float>(2 * 4 * 3, -1);

  Tensors() {  // key j holds j
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i / 16 % 3);
  }
  [[nodiscard]] rapt::Attention causal() {
    return {.q = {q.data(), {2, 3, 4, 8}},
            .k = {k.data(), {2, 3, 2, 8}},
            .v = {v.data(), {2, 3, 2, 8}},
            .out = {out.data(), {2, 3, 4, 8}},
            .lse = {lse.data(), {2, 4, 3}},
            .mask = rapt::Mask::causal()};
  }
};

TEST(Hpp, Attends) {
  Tensors t;
  const rapt::Status status = rapt::attend(t.causal(), {.threads = 1});
  ASSERT_TRUE(status) << status.message();
  EXPECT_EQ(status.code(), rapt::Code::ok);
  EXPECT_EQ(status.message(), "");
  EXPECT_FLOAT_EQ(t.out[0], 0);             // query 0 sees key 0
  EXPECT_FLOAT_EQ(t.out[1 * 4 * 8], 0.5F);  // query 1 sees 0 and 1
  EXPECT_FLOAT_EQ(t.out[2 * 4 * 8], 1);     // query 2 sees all three
}

TEST(Hpp, RefusesWithASentence) {
  Tensors t;
  rapt::Attention problem = t.causal();
  problem.k = {};
  const rapt::Status status = rapt::attend(problem);
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(status.code(), rapt::Code::invalid_argument);
  EXPECT_EQ(status.message(), "k: is not given");
}

TEST(Hpp, EveryGroupReachesTheLibrary) {
  Tensors t;
  const std::vector<float> four(4);
  const std::vector<std::int32_t> two(2);
  const ConstTensorView wrong(four.data(), {4, 1, 1, 1, 1});  // a shape that no group takes
  const auto sentence = [&](auto change) {
    rapt::Attention problem = t.causal();
    change(problem);
    const rapt::Status status = rapt::attend(problem);
    return status.message().substr(0, status.message().find(':'));
  };
  using A = rapt::Attention;
  EXPECT_EQ(sentence([](A& a) { a.scale = HUGE_VALF; }), "scale");
  EXPECT_EQ(sentence([](A& a) { a.mask->left = -1; }), "mask.left");
  EXPECT_EQ(sentence([](A& a) { a.mask->right = -1; }), "mask.right");
  EXPECT_EQ(sentence([](A& a) { a.mask->sink_tokens = -1; }), "mask.sink_tokens");
  EXPECT_EQ(sentence([](A& a) { a.softcap = rapt::Softcap{-1}; }), "softcap.cap");
  EXPECT_EQ(sentence([&](A& a) { a.alibi = rapt::Alibi{wrong}; }), "alibi.slopes");
  EXPECT_EQ(sentence([&](A& a) { a.bias = rapt::Bias{wrong}; }), "bias.bias");
  EXPECT_EQ(sentence([&](A& a) { a.sinks = rapt::Sinks{wrong}; }), "sinks.sinks");
  EXPECT_EQ(sentence([](A& a) { a.dropout = rapt::Dropout{.probability = 2}; }),
            "dropout.probability");
  EXPECT_EQ(sentence([&](A& a) { a.descale = rapt::Descale{.q = wrong}; }), "descale.q");
  EXPECT_EQ(sentence([&](A& a) { a.descale = rapt::Descale{.k = wrong}; }), "descale.k");
  EXPECT_EQ(sentence([&](A& a) { a.descale = rapt::Descale{.v = wrong}; }), "descale.v");
  EXPECT_EQ(sentence([](A& a) { a.ragged = rapt::Ragged{}; }), "ragged.q_offsets");
  EXPECT_EQ(sentence([](A& a) { a.pages = rapt::Pages{}; }), "pages.table");
  EXPECT_EQ(sentence([&](A& a) { a.lengths = rapt::Lengths{.q_len = wrong}; }), "lengths.q_len");
  EXPECT_EQ(sentence([&](A& a) { a.lengths = rapt::Lengths{.kv_len = wrong}; }), "lengths.kv_len");
  EXPECT_EQ(sentence([&](A& a) { a.lengths = rapt::Lengths{.cache_row = wrong}; }),
            "lengths.cache_row");
  EXPECT_EQ(sentence([&](A& a) { a.lengths = rapt::Lengths{.left_pad = wrong}; }),
            "lengths.left_pad");
  EXPECT_EQ(sentence([&](A& a) { a.positions = rapt::Positions{.q_start = wrong}; }),
            "positions.q_start");
  EXPECT_EQ(sentence([&](A& a) { a.positions = rapt::Positions{.kv_start = wrong}; }),
            "positions.kv_start");
}

TEST(Hpp, OptionsReachTheLibrary) {
  Tensors t;
  EXPECT_EQ(rapt::attend(t.causal(), {.backend = "tpu"}).message(),
            "options.backend: \"tpu\" is no backend");
  EXPECT_EQ(rapt::attend(t.causal(), {.kernel = "none"}).message(),
            "options.kernel: \"none\" is no kernel of this build");
  EXPECT_EQ(rapt::attend(t.causal(), {.threads = -1}).message(),
            "options.threads: is -1; must be 0 or more");
}

TEST(Hpp, BackwardIsCheckedAndRuns) {
  Tensors t;
  std::vector<float> dq(t.q.size()), dk(t.k.size()), dv(t.v.size()), d_out(t.out.size());
  rapt::Gradient gradient = {.forward = t.causal(),
                             .d_out = {d_out.data(), {2, 3, 4, 8}},
                             .dq = {dq.data(), {2, 3, 4, 8}},
                             .dk = {dk.data(), {2, 3, 2, 8}},
                             .dv = {dv.data(), {2, 3, 2, 8}}};
  ASSERT_TRUE(rapt::attend(t.causal()).ok());
  const rapt::Status status = rapt::attend_backward(gradient);
  EXPECT_TRUE(status.ok()) << status.message();
  gradient.dv = {};
  EXPECT_EQ(rapt::attend_backward(gradient).message(), "dv: is not given");
}

TEST(Hpp, PlansUploadsAndRunsWithoutAllocating) {
  Tensors t;
  const rapt::Attention problem = t.causal();
  rapt::Plan plan;
  EXPECT_FALSE(plan);
  ASSERT_TRUE(plan.create(problem, {.batch = 4, .kv_len = 64}));
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan.kernel().substr(0, 4), "cpu/");
  const std::size_t bytes = plan.workspace_bytes() / 64 * 64 + 64;
  const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(64, bytes),
                                                           &std::free);
  const std::span<std::byte> workspace(static_cast<std::byte*>(memory.get()), bytes);
  const std::array<std::int64_t, 2> lengths = {3, 3};
  const rapt::Status uploaded = plan.upload({.q_len = lengths, .kv_len = lengths}, workspace);
  ASSERT_TRUE(uploaded) << uploaded.message();
  const rapt::Plan moved = std::move(plan);
  const std::int64_t before = rapt::allocations();
  const bool ran = moved.run(problem, workspace).ok();
  EXPECT_EQ(rapt::allocations() - before, 0);
  EXPECT_TRUE(ran);
  EXPECT_FLOAT_EQ(t.out[2 * 4 * 8], 1);
}

TEST(Hpp, AStepOfTwoSizesIsRefused) {
  Tensors t;
  rapt::Plan plan;
  ASSERT_TRUE(plan.create(t.causal()));
  const std::array<std::int64_t, 2> two = {3, 3};
  const std::array<std::int64_t, 1> one = {3};
  EXPECT_EQ(plan.upload({.q_len = two, .kv_len = one}, {}).message(),
            "step: q_len has 2 entries, kv_len 1");
}

TEST(Hpp, ExplainsAndPrepares) {
  Tensors t;
  std::string json;
  ASSERT_TRUE(rapt::explain(t.causal(), json));
  EXPECT_EQ(json.substr(0, 27), "{\"schema\": 1, \"chosen\": \"cp");
  EXPECT_EQ(json.back(), '}');
  EXPECT_TRUE(rapt::prepare(t.causal()));
  EXPECT_FALSE(rapt::explain({}, json));
}

TEST(Hpp, KeepsAPagedCache) {
  std::vector<float> k_cache(4 * 2 * 8, -1), v_cache(4 * 2 * 8, -1), token(2 * 8, 3);
  std::vector<float> one(4, 1), zero(4, 0);
  const std::array<std::int64_t, 2> slots = {1, 4};
  const std::array<std::int32_t, 2> positions = {0, 0};
  const TensorView k(k_cache.data(), {4, 2, 1, 8});
  const TensorView v(v_cache.data(), {4, 2, 1, 8});
  const ConstTensorView tokens(token.data(), {2, 1, 8});
  const rapt::Rope rope = {.cos = {one.data(), {1, 4}},
                           .sin = {zero.data(), {1, 4}},
                           .positions = {positions.data(), {2}},
                           .rotary_dim = 8};
  const rapt::Status appended = rapt::append({.k = tokens,
                                              .v = tokens,
                                              .k_cache = k,
                                              .v_cache = v,
                                              .slots = {slots.data(), {2}},
                                              .page_size = 2,
                                              .rope = rope});
  ASSERT_TRUE(appended) << appended.message();
  EXPECT_FLOAT_EQ(k_cache[8], 3);
  EXPECT_FLOAT_EQ(k_cache[0], -1);
  const std::array<std::int64_t, 2> pair = {2, 3};
  const std::array<std::int64_t, 1> page = {0};
  ASSERT_TRUE(rapt::copy_pages(k, {pair.data(), {1, 2}}));
  EXPECT_FLOAT_EQ(k_cache[3 * 16], 3);
  ASSERT_TRUE(rapt::clear_pages(k, {page.data(), {1}}));
  EXPECT_FLOAT_EQ(k_cache[8], 0);
  ASSERT_TRUE(rapt::swap_pages(k, v, {pair.data(), {1, 2}}));
  EXPECT_FLOAT_EQ(v_cache[3 * 16], 3);
}

TEST(Hpp, Merges) {
  std::vector<float> a(8, 1), b(8, 3), out(8), lse(1);
  const std::vector<float> equal(1, 0.5F);
  const std::array<rapt::Part, 2> parts = {
      rapt::Part{{a.data(), {1, 1, 1, 8}}, {equal.data(), {1, 1, 1}}},
      rapt::Part{{b.data(), {1, 1, 1, 8}}, {equal.data(), {1, 1, 1}}}};
  const rapt::Status status =
      rapt::merge(parts, {out.data(), {1, 1, 1, 8}}, {lse.data(), {1, 1, 1}});
  ASSERT_TRUE(status) << status.message();
  EXPECT_FLOAT_EQ(out[7], 2);
  EXPECT_NEAR(lse[0], 0.5F + 0.6931472F, 1e-6F);
}

TEST(Hpp, ListsDevices) {
  std::vector<rapt_device_info> devices;
  ASSERT_TRUE(rapt::devices(devices));
  ASSERT_FALSE(devices.empty());
  EXPECT_STREQ(devices.back().backend, "cpu");
}

TEST(Hpp, ViewsNameTheirOrder) {
  std::vector<float> data(2 * 5 * 3 * 8);
  const TensorView bhsd =
      TensorView::bhsd(data.data(), DType::fp32, {.batch = 2, .len = 5, .heads = 3, .dim = 8});
  EXPECT_EQ(bhsd.raw().shape[1], 5);
  EXPECT_EQ(bhsd.raw().strides[1], 8);
  const ConstTensorView htd =
      ConstTensorView::htd(data.data(), DType::fp32, {.len = 10, .heads = 3, .dim = 8});
  EXPECT_EQ(htd.raw().rank, 3);
  EXPECT_EQ(htd.raw().strides[1], 80);
  EXPECT_EQ(ConstTensorView::thd(data.data(), DType::fp32, {.len = 10, .heads = 3, .dim = 8})
                .raw()
                .strides[1],
            8);
  EXPECT_EQ(TensorView::bshd(data.data(), DType::bf16, {}).raw().dtype, RAPT_BF16);
  EXPECT_EQ(bhsd.on({RAPT_CUDA, 3}).raw().device_index, 3);
}

}  // namespace
