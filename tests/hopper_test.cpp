// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the host decides of the Hopper forward: the order of tiles, tensor maps, the text of its
// instructions, what fits a CTA and what is refused. A stand-in for the driver shows the maps.
#include "backend/cuda/hopper.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <vector>

#include "backend/cuda/forward_configs.h"
#include "backend/cuda/wgmma_text.h"
#include "kernels/cuda/hopper/budget.h"
#include "stand_in_driver.h"

namespace rapt::cuda {
namespace {

using kernels::Element;
using kernels::ForwardConfig;
using kernels::HopperParams;
using kernels::TileOrder;

constexpr int kCtas = 132;  // of an H200

TEST(HopperOrder, BeginsWithTheLastTilesOfStreamsThatShareTheCache) {
  const TileOrder order = {3, 5, 2, 0};  // the fifth stream goes with the last two
  const int streams[] = {0, 1, 0, 1, 0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4};
  const int tiles[] = {2, 2, 1, 1, 0, 0, 2, 2, 2, 1, 1, 1, 0, 0, 0};
  for (int i = 0; i < order.count(); ++i) {
    EXPECT_EQ(order.at(i).stream, streams[i]) << i;
    EXPECT_EQ(order.at(i).tile, tiles[i]) << i;
  }
}

// Calls visit(cta, place) for every tile that a CTA takes.
template <typename Visit>
void deal(const TileOrder& order, int ctas, Visit visit) {
  for (int cta = 0; cta < ctas; ++cta) {
    for (int n = 0; n < order.rounds(ctas); ++n) {
      const int index = order.index_of(n, cta, ctas);
      if (index >= 0) visit(cta, order.at(index));
    }
  }
}

TEST(HopperOrder, DealsEveryTileToOneCta) {
  const TileOrder orders[] = {{1, 1, 1, 0},  {7, 5, 2, 0},  {3, 8, 8, 0}, {4, 9, 1, 0},
                              {5, 6, 4, 0},  {2, 50, 7, 1}, {7, 9, 2, 1}, {13, 5, 1, 1},
                              {14, 4, 1, 1}, {1, 14, 14, 1}};
  for (const TileOrder& order : orders) {
    std::vector<int> visits(static_cast<std::size_t>(order.count()));
    deal(order, 7, [&](int, TileOrder::Place at) {
      ASSERT_TRUE(at.stream >= 0 && at.stream < order.streams && at.tile >= 0 &&
                  at.tile < order.tiles);
      ++visits[static_cast<std::size_t>(at.stream * order.tiles + at.tile)];
    });
    EXPECT_EQ(std::count(visits.begin(), visits.end(), 1), order.count());
  }
}

// The longest CTA's work over the mean, where a tile's grows with its number.
double imbalance(const TileOrder& order) {
  std::vector<double> work(kCtas);
  double all = 0;
  deal(order, kCtas, [&](int cta, TileOrder::Place at) {
    work[static_cast<std::size_t>(cta)] += at.tile + 1;
    all += at.tile + 1;
  });
  return *std::max_element(work.begin(), work.end()) * kCtas / all;
}

// Causal batches of 16,384 tokens: 4096 queries in tiles of 192 or 128, 1024 of 128.
TEST(HopperOrder, SharesACausalBatchOutEvenly) {
  EXPECT_LT(imbalance({22, 64, 64, 0}), 1.02);
  EXPECT_LT(imbalance({22, 128, 12, 1}), 1.02);
  EXPECT_LT(imbalance({8, 256, 33, 1}), 1.02);
  EXPECT_LT(imbalance({32, 32, 8, 1}), 1.05);  // 8 CTAs have no second tile, other ones each time
}

TEST(WgmmaText, IsTheInstructionOfTheIsa) {
  const std::string text = wgmma_text(Element::bf16, 8);
  EXPECT_NE(text.find("struct rapt::kernels::Wgmma<rapt::kernels::Element::bf16, 8> {"),
            std::string::npos);
  EXPECT_NE(text.find("shared(float (&d)[2][2], u64 a, u64 b, int adds)"), std::string::npos);
  EXPECT_NE(text.find("\"wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 \"\n"
                      "        \"{%0, %1, %2, %3}, \"\n"
                      "        \"%4, %5, p, 1, 1, 0, 0;}\"\n"
                      "        : \"+f\"(d[0][0]), \"+f\"(d[0][1]), \"+f\"(d[1][0]), "
                      "\"+f\"(d[1][1])\n"
                      "        : \"l\"(a), \"l\"(b), \"r\"(adds));"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("\"{%4, %5, %6, %7}, %8, p, 1, 1, 1;}\""), std::string::npos);
  EXPECT_NE(wgmma_text(Element::fp16, 8).find("m64n8k16.f32.f16.f16"), std::string::npos);
}

// The driver's view of what a launch asks of it.
std::vector<TiledTensor> encoded;

CUresult record(CUtensorMap* map, int type, std::uint32_t rank, void* data,
                const std::uint64_t* shape, const std::uint64_t* strides, const std::uint32_t* box,
                const std::uint32_t*, int, int swizzle, int promotion, int) {
  TiledTensor t;
  t.type = type;
  t.rank = rank;
  t.data = data;
  for (std::uint32_t i = 0; i < rank && i < TiledTensor::kMaxRank; ++i) {
    t.shape[i] = shape[i];
    t.box[i] = box[i];
    if (i > 0) t.byte_strides[i - 1] = strides[i - 1];
  }
  t.swizzle = swizzle;
  t.promotion = promotion;
  encoded.push_back(t);
  map->opaque[0] = encoded.size();
  return kSuccess;
}

class HopperMaps : public ::testing::Test {
 protected:
  HopperMaps() {
    encoded.clear();
    p_.batch = p_.cache_rows = 2;
    p_.q_len = 300;
    p_.q_tokens = 600;
    p_.kv_len = 500;
    p_.q_heads = 8;
    p_.kv_heads = 2;
    p_.head_dim = 128;
    p_.value_dim = 64;
    p_.dtype = p_.kv_dtype = p_.out_dtype = DType::bf16;
    p_.scale = 1;
    p_.q = {&memory_[0], 300 * 8 * 128, 8 * 128, 128};
    p_.k = {&memory_[1], 500 * 2 * 128, 2 * 128, 128};
    p_.v = {&memory_[2], 500 * 2 * 64, 2 * 64, 64};
    p_.out = {&memory_[3], 300 * 8 * 64, 8 * 64, 64};
  }

  // Of the problem as it now stands.
  const HopperParams& params() {
    DriverApi api = test::pretend();
    api.tensor_map_encode_tiled = record;
    const Driver driver(api);
    ForwardConfig config;
    EXPECT_TRUE(configure_forward(ForwardKind::hopper, p_, p_.q_len, {232448, 132}, &config));
    params_ = {};
    params_.forward.batch = static_cast<int>(p_.batch);
    params_.forward.kv_heads = static_cast<int>(p_.kv_heads);
    params_.forward.splits = params_.forward.value_chunks = 1;
    params_.forward.tiles = 10;
    EXPECT_TRUE(set_hopper_params(driver, p_, config, 132, params_).ok());
    block_kv_ = config.block_kv;
    return params_;
  }

  static void expect(const TiledTensor& t, const std::vector<std::uint64_t>& shape,
                     const std::vector<std::uint64_t>& strides,
                     const std::vector<std::uint32_t>& box) {
    ASSERT_EQ(t.rank, shape.size());
    EXPECT_TRUE(std::equal(shape.begin(), shape.end(), t.shape));
    EXPECT_TRUE(std::equal(strides.begin(), strides.end(), t.byte_strides));
    EXPECT_TRUE(std::equal(box.begin(), box.end(), t.box));
    EXPECT_EQ(t.type, kTensorBf16);
    EXPECT_EQ(t.swizzle, kSwizzle128);
  }

  Problem p_;
  char memory_[4] = {};
  int block_kv_ = 0;

 private:
  HopperParams params_ = {};
};

TEST_F(HopperMaps, OfDenseTensors) {
  const HopperParams& params = this->params();
  ASSERT_EQ(encoded.size(), 4U);
  expect(encoded[0], {128, 4, 300, 2, 2}, {256, 2048, 1024, 614400}, {64, 4, 16, 1, 1});
  expect(encoded[1], {64, 4, 300, 2, 2}, {128, 1024, 512, 307200}, {64, 4, 4, 1, 1});
  const auto block = static_cast<std::uint32_t>(block_kv_);
  expect(encoded[2], {128, 500, 2, 2}, {512, 256, 256000}, {64, block, 1, 1});
  expect(encoded[3], {64, 500, 2, 2}, {256, 128, 128000}, {64, block, 1, 1});
  EXPECT_EQ(params.q_box, 16);
  EXPECT_EQ(params.out_box, 4);
  EXPECT_EQ(params.piece, block_kv_);
  EXPECT_EQ(params.k.opaque[0], 3U);
  EXPECT_EQ(params.order.streams, 4);
  EXPECT_EQ(params.order.together, 4);
}

TEST_F(HopperMaps, OfRaggedTensors) {
  const std::int32_t offsets[3] = {};
  p_.q_offsets = p_.kv_offsets = {offsets, DType::int32, 1};
  p_.kv_tokens = 1000;
  (void)params();
  expect(encoded[0], {128, 4, 600, 2, 1}, {256, 2048, 1024, 16}, {64, 4, 16, 1, 1});
  expect(encoded[2], {128, 1000, 2, 1}, {512, 256, 16},
         {64, static_cast<std::uint32_t>(block_kv_), 1, 1});
}

TEST_F(HopperMaps, OfPages) {
  p_.page_size = 32;
  p_.pages = 40;
  p_.k_pages = {&memory_[1], 32 * 2 * 128, 2 * 128, 128, 1, 1};
  p_.v_pages = {&memory_[2], 32 * 2 * 64, 2 * 64, 64, 1, 1};
  EXPECT_EQ(params().piece, 32);
  expect(encoded[2], {128, 32, 2, 40}, {512, 256, 16384}, {64, 32, 1, 1});
}

// Rows of smaller pages are found one by one.
TEST_F(HopperMaps, OfPagesOnlyWhereTheyHoldBoxes) {
  p_.page_size = 4;
  p_.pages = 320;
  p_.k_pages = {&memory_[1], 4 * 2 * 128, 2 * 128, 128, 1, 1};
  p_.v_pages = {&memory_[2], 4 * 2 * 64, 2 * 64, 64, 1, 1};
  (void)params();
  EXPECT_EQ(encoded.size(), 2U);
  EXPECT_TRUE(has_slots(p_));
  p_.page_size = 8;
  EXPECT_FALSE(has_slots(p_));
}

// Three heads do not divide 64 rows: chunks are copied instead.
TEST_F(HopperMaps, OfQueriesOnlyWhereBoxesAreWholeTokens) {
  p_.q_heads = 6;
  const HopperParams& params = this->params();
  EXPECT_EQ(encoded.size(), 2U);
  EXPECT_EQ(params.q_box, 0);
  EXPECT_EQ(params.out_box, 0);
}

TEST_F(HopperMaps, OfQueriesOnlyWithStridesOfTma) {
  p_.q.head_stride = 0;  // one head shown as eight
  EXPECT_EQ(params().q_box, 0);
  EXPECT_EQ(params().out_box, 4);
}

TEST_F(HopperMaps, GroupsStreamsWhereTilesInFlightWouldShareNothing) {
  p_.kv_len = 131072;  // 48 MB a stream
  EXPECT_EQ(params().order.together, 4) << "each has 33 of 132 CTAs";
  p_.batch = p_.cache_rows = 22;
  p_.kv_len = 1024;
  EXPECT_EQ(params().order.together, 44) << "17 MB in all";
  p_.batch = p_.cache_rows = 100;
  EXPECT_EQ(params().order.together, 1) << "tiles alike";
  EXPECT_EQ(params().order.pairs, 0);
}

TEST_F(HopperMaps, DealsTilesOfAMaskInPairsWhereLengthsAreKnown) {
  p_.kv_len = 1024;
  p_.batch = p_.cache_rows = 100;
  p_.mask_right = 0;
  EXPECT_EQ(params().order.together, 26) << "of 10 tiles each, two for each of 132 CTAs";
  EXPECT_EQ(params().order.pairs, 1);
  p_.kv_used.data = &memory_[1];
  EXPECT_EQ(params().order.together, 170) << "64 MB";
  EXPECT_EQ(params().order.pairs, 0);
}

TEST_F(HopperMaps, RefusesWhatTmaDoesNotRead) {
  EXPECT_EQ(refuse_hopper_layout(p_).sentence(), "");
  const auto refusal = [&](auto change) {
    Problem p = p_;
    change(p);
    return refuse_hopper_layout(p).sentence();
  };
  EXPECT_EQ(refusal([](Problem& p) { p.kv_len = 0; }), "k: is empty, this kernel wants a key");
  EXPECT_EQ(refusal([](Problem& p) { p.v.token_stride = -64; }),
            "v: a stride is -64, this kernel takes more than 0 and less than 2^40 bytes");
  EXPECT_EQ(refusal([](Problem& p) { p.k.batch_stride = std::int64_t{1} << 40; }),
            "k: a stride is 1099511627776, this kernel takes more than 0 and less than 2^40 bytes");
  EXPECT_EQ(refusal([](Problem& p) { p.kv_len = std::int64_t{1} << 31; }),
            "k: a dimension is 2147483648, this kernel takes 2^31 - 1");
  EXPECT_EQ(refusal([](Problem& p) {
              p.page_size = 16;
              p.page_layout = RAPT_X_PACKED;
            }),
            "k_pages: page_layout is one whose rows are not contiguous, this kernel wants them so");
}

TEST_F(HopperMaps, SuitsTilesOfRows) {
  EXPECT_TRUE(suits_hopper(p_));
  p_.q_len = 16;  // with 4 heads a kv head
  EXPECT_FALSE(suits_hopper(p_));
}

TEST(HopperRoom, FitsACtaForEveryHeadSizeAndFeature) {
  for (const int head_dim : {64, 96, 128, 192, 256, 512}) {
    for (const bool all : {false, true}) {
      Problem p;
      p.q_len = p.kv_len = 4096;
      p.q_heads = p.kv_heads = 1;
      p.head_dim = p.value_dim = head_dim;
      p.dtype = p.out_dtype = DType::bf16;
      p.scale = 1;
      const float given = 0;
      if (all) {
        p.mask_right = 0;
        p.alibi = p.sinks = &given;
        p.bias = &given;
        p.bias_dtype = DType::bf16;
        p.dropout_keep = 100;
        p.softcap = 1;
      }
      ForwardConfig config;
      ASSERT_TRUE(configure_forward(ForwardKind::hopper, p, p.q_len, {232448, 132}, &config))
          << head_dim;
      EXPECT_LE(kernels::hopper_shared_bytes(config), kernels::kHopperMostShared);
      EXPECT_GE(kernels::hopper_room(config).tiles, 2);
      EXPECT_EQ(threads_of(ForwardKind::hopper, config),
                128U * static_cast<unsigned>(config.warps_q / 4 + 1));
    }
  }
}

}  // namespace
}  // namespace rapt::cuda
