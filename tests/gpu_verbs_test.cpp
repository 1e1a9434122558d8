// SPDX-License-Identifier: Apache-2.0 OR MIT
// The smaller verbs on CUDA give what the CPU backend gives: append with and without RoPE, the page
// moves, and merge.
#include <cstring>
#include <limits>
#include <vector>

#include "gpu.h"
#include "gpu_twin.h"

namespace rapt::kit {
namespace {

using GpuVerbs = OnGpu<testing::Test>;
constexpr Place kBoth[] = {Place::host, Place::cuda};

// Merged values are a few roundings apart: exponentials, and the order of products and sums.
constexpr double kRounding = 2e-6;

Shape cache_shape(rapt_page_layout layout, bool key) {
  constexpr std::int64_t kPages = 5, kPage = 8, kHeads = 2, kDim = 32, kX = 4;
  if (layout == RAPT_PAGE_HEAD_DIM) return {kPages, kPage, kHeads, kDim};
  if (layout == RAPT_HEAD_PAGE_DIM) return {kPages, kHeads, kPage, kDim};
  if (layout == RAPT_X_PACKED && key) return {kPages, kHeads, kDim / kX, kPage, kX};
  return {kPages, kHeads, kDim, kPage};
}

void append_everywhere(rapt_page_layout layout, std::int32_t interleaved, bool rope) {
  auto k = floats({6, 2, 32}, 1), v = floats({6, 2, 32}, 2), q = floats({6, 4, 32}, 3);
  auto k_cache = floats(cache_shape(layout, true), 4);
  auto v_cache = floats(cache_shape(layout, false), 5);
  auto q_out = floats({6, 4, 32}, 6), cosines = floats({50, 8}, 7), sines = floats({50, 8}, 8);
  auto slots = integers({6}, {3, -1, 39, 0, 17, 8});
  auto positions = integers({6}, {0, 1, 49, 7, 20, 3});
  for (const Place place : kBoth) {
    rapt_rope turn = {sizeof turn, cosines.at(place), sines.at(place), positions.at(place),
                      16,          interleaved};
    rapt_append_args args{};
    args.struct_size = sizeof args;
    args.k = k.at(place);
    args.v = v.at(place);
    args.k_cache = k_cache.at(place);
    args.v_cache = v_cache.at(place);
    args.slots = slots.at(place);
    args.layout = layout;
    args.page_size = 8;
    if (rope) {
      args.rope = &turn;
      args.q = q.at(place);
      args.q_out = q_out.at(place);
    }
    ASSERT_EQ(rapt_append(&args, nullptr), RAPT_OK) << rapt_error_message();
  }
  EXPECT_EQ(k_cache.difference(), 0);  // to the bit: every step of rope is rounded alike
  EXPECT_EQ(v_cache.difference(), 0);
  EXPECT_EQ(q_out.difference(), 0);
}

TEST_F(GpuVerbs, AppendInEveryLayout) {
  for (const rapt_page_layout layout :
       {RAPT_PAGE_HEAD_DIM, RAPT_HEAD_PAGE_DIM, RAPT_HEAD_DIM_PAGE, RAPT_X_PACKED}) {
    SCOPED_TRACE(layout);
    append_everywhere(layout, 0, false);
    append_everywhere(layout, 0, true);
    append_everywhere(layout, 1, true);
  }
}

// The last dimension from element `first` on.
rapt_tensor part_of(rapt_tensor tensor, std::int64_t first, std::int64_t size) {
  tensor.shape[tensor.rank - 1] = size;
  tensor.data = static_cast<char*>(tensor.data) +
                static_cast<std::size_t>(first) * rapt_dtype_bytes(tensor.dtype);
  return tensor;
}

// Rows of 64 that begin `offset` elements into rows of 72, turned in the first rotary_dim of them;
// queries in place.
void append_halves(rapt_dtype dtype, std::int64_t rotary_dim, std::int32_t interleaved,
                   std::int64_t offset) {
  auto k = halves(dtype, {9, 2, 72}, 1), v = halves(dtype, {9, 2, 72}, 2);
  auto q = halves(dtype, {9, 4, 72}, 3);
  auto k_cache = halves(dtype, {3, 4, 2, 72}, 4), v_cache = halves(dtype, {3, 4, 2, 72}, 5);
  auto cosines = floats({20, rotary_dim / 2}, 6), sines = floats({20, rotary_dim / 2}, 7);
  auto slots = integers({9}, {11, 0, -1, 5, 4, 3, 10, 7, 6});
  auto positions = integers({9}, {0, 19, 3, 3, 8, 1, 15, 2, 9});
  for (const Place place : kBoth) {
    rapt_rope turn = {sizeof turn,         cosines.at(place), sines.at(place),
                      positions.at(place), rotary_dim,        interleaved};
    rapt_append_args args{};
    args.struct_size = sizeof args;
    args.k = part_of(k.at(place), offset, 64);
    args.v = part_of(v.at(place), offset, 64);
    args.q = args.q_out = part_of(q.at(place), offset, 64);
    args.k_cache = part_of(k_cache.at(place), offset, 64);
    args.v_cache = part_of(v_cache.at(place), offset, 64);
    args.slots = slots.at(place);
    args.page_size = 4;
    args.rope = &turn;
    ASSERT_EQ(rapt_append(&args, nullptr), RAPT_OK) << rapt_error_message();
  }
  EXPECT_EQ(k_cache.difference(), 0);
  EXPECT_EQ(v_cache.difference(), 0);
  EXPECT_EQ(q.difference(), 0);
}

TEST_F(GpuVerbs, AppendHalvesOfAnyAlignment) {
  for (const rapt_dtype dtype : {RAPT_FP16, RAPT_BF16}) {
    for (const std::int64_t rotary_dim : {64, 32, 10}) {
      for (const std::int64_t offset : {0, 8, 1}) {
        SCOPED_TRACE(testing::Message() << dtype << ' ' << rotary_dim << ' ' << offset);
        append_halves(dtype, rotary_dim, 0, offset);
        append_halves(dtype, rotary_dim, 1, offset);
      }
    }
  }
}

// What the host refuses is skipped, or held inside the tables, by the device.
TEST_F(GpuVerbs, AppendSurvivesNonsense) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  auto k = floats({6, 2, 32}, 1), v = floats({6, 2, 32}, 2);
  auto k_cache = floats({5, 8, 2, 32}, 3), v_cache = floats({5, 8, 2, 32}, 4);
  auto cosines = floats({50, 8}, 5), sines = floats({50, 8}, 6);
  auto sane_slots = integers({6}, {3, -1, -1, -1, -1, 8});
  auto sane_positions = integers({6}, {49, 0, 0, 0, 0, 0});
  auto slots = integers({6}, {3, -2, 40, kMost, -kMost - 1, 8});
  auto positions = integers({6}, {kMost, 0, 0, 0, 0, -kMost - 1});
  for (const Place place : kBoth) {
    const bool sane = place == Place::host;
    rapt_rope turn = {sizeof turn,
                      cosines.at(place),
                      sines.at(place),
                      (sane ? sane_positions : positions).at(place),
                      16,
                      0};
    rapt_append_args args{};
    args.struct_size = sizeof args;
    args.k = k.at(place);
    args.v = v.at(place);
    args.k_cache = k_cache.at(place);
    args.v_cache = v_cache.at(place);
    args.slots = (sane ? sane_slots : slots).at(place);
    args.page_size = 8;
    args.rope = &turn;
    ASSERT_EQ(rapt_append(&args, nullptr), RAPT_OK) << rapt_error_message();
  }
  EXPECT_EQ(k_cache.difference(), 0);
  EXPECT_EQ(v_cache.difference(), 0);
}

TEST_F(GpuVerbs, PagesWithGapsOfAnyWidthAndNonsense) {
  for (const std::int64_t first : {0, 4, 2, 1}) {
    SCOPED_TRACE(first);
    auto cache = halves(RAPT_BF16, {6, 3, 2, 48}, 1);
    auto sane = integers({2, 2}, {0, 3, 5, 1}), sane_pages = integers({1}, {4});
    auto pairs = integers({5, 2}, {0, 3, 6, 0, 5, 1, 2, -1, -9, 2});
    auto pages = integers({3}, {-1, 4, 6});
    for (const Place place : kBoth) {
      const bool host = place == Place::host;
      const rapt_tensor view = part_of(cache.at(place), first, 48 - 2 * first);
      const rapt_tensor moves = (host ? sane : pairs).at(place);
      const rapt_tensor cleared = (host ? sane_pages : pages).at(place);
      ASSERT_EQ(rapt_copy_pages(&view, &moves, nullptr), RAPT_OK) << rapt_error_message();
      ASSERT_EQ(rapt_clear_pages(&view, &cleared, nullptr), RAPT_OK) << rapt_error_message();
    }
    EXPECT_EQ(cache.difference(), 0);
  }
}

TEST_F(GpuVerbs, CopyAndClearPages) {
  auto cache = floats({6, 8, 2, 32}, 1);
  auto pairs = integers({2, 2}, {0, 3, 5, 1});
  auto pages = integers({2}, {2, 4});
  for (const Place place : kBoth) {
    const rapt_tensor c = cache.at(place), p = pairs.at(place), cleared = pages.at(place);
    ASSERT_EQ(rapt_copy_pages(&c, &p, nullptr), RAPT_OK) << rapt_error_message();
    ASSERT_EQ(rapt_clear_pages(&c, &cleared, nullptr), RAPT_OK) << rapt_error_message();
  }
  EXPECT_EQ(cache.difference(), 0);
}

// Between a device and the host, pairs may be in either.
TEST_F(GpuVerbs, SwapPagesOutAndIn) {
  auto here = floats({6, 8, 2, 32}, 1), there = floats({4, 8, 2, 32}, 2);
  auto out = integers({2, 2}, {0, 3, 5, 1}), in = integers({1, 2}, {2, 4});
  const auto swap = [](const rapt_tensor& from, const rapt_tensor& to, const rapt_tensor& pairs) {
    ASSERT_EQ(rapt_swap_pages(&from, &to, &pairs, nullptr), RAPT_OK) << rapt_error_message();
    cuda::synchronize();
  };
  // The same moves among host caches and across: first onto the host's `there`, then both ways on
  // the device, so that each twin has been through them.
  swap(here.at(Place::host), there.at(Place::host), out.at(Place::host));
  swap(here.at(Place::cuda), there.at(Place::cuda), out.at(Place::cuda));
  EXPECT_EQ(there.difference(), 0);
  swap(there.at(Place::host), here.at(Place::cuda), in.at(Place::cuda));
  swap(there.at(Place::host), here.at(Place::host), in.at(Place::host));
  EXPECT_EQ(here.difference(), 0);
  swap(here.at(Place::cuda), there.at(Place::host), out.at(Place::cuda));
  swap(here.at(Place::cuda), there.at(Place::cuda), out.at(Place::cuda));
  EXPECT_EQ(there.difference(), 0);
  swap(there.at(Place::host), here.at(Place::cuda), in.at(Place::host));  // pairs of the host
  swap(there.at(Place::host), here.at(Place::host), in.at(Place::host));
  EXPECT_EQ(here.difference(), 0);
}

// `count` parts of 16-bit or FP32 elements, some of them without a key in some rows; part 1 is
// where the merged rows go, and its lse where theirs go.
template <class T>
void merge_in_place(std::vector<Twin<T>> outs, std::int64_t first, double tolerance) {
  std::vector<Twin<float>> lses;
  for (std::uint64_t part = 0; part < outs.size(); ++part) {
    lses.push_back(floats({2, 4, 5}, 50 + part));
  }
  for (const Place place : kBoth) {
    std::vector<rapt_tensor> out, lse;
    for (auto& part : outs) out.push_back(part_of(part.at(place), first, 64));
    for (auto& part : lses) lse.push_back(part.at(place));
    const auto count = static_cast<std::int64_t>(out.size());
    const rapt_merge_args args = {sizeof args, count, out.data(), lse.data(), out[1], lse[1]};
    ASSERT_EQ(rapt_merge(&args, nullptr), RAPT_OK) << rapt_error_message();
  }
  EXPECT_LE(outs[1].difference(), tolerance);
  EXPECT_LE(lses[1].difference(), kRounding);
}

std::vector<Twin<float>> parts(std::uint64_t count) {
  std::vector<Twin<float>> outs;
  for (std::uint64_t n = 0; n < count; ++n) outs.push_back(floats({2, 5, 4, 72}, 200 + n));
  return outs;
}

TEST_F(GpuVerbs, MergeInPlaceOfAnyAlignment) {
  for (const std::int64_t first : {0, 4, 1}) merge_in_place(parts(3), first, kRounding);
}

// More than one launch takes: what is merged so far goes from one to the next.
TEST_F(GpuVerbs, MergeOfManyParts) {
  merge_in_place(parts(33), 0, kRounding);
  merge_in_place(parts(100), 1, kRounding);
}

// Sums that differ by roundings may end as neighbours.
TEST_F(GpuVerbs, MergeOfHalves) {
  for (const rapt_dtype dtype : {RAPT_FP16, RAPT_BF16}) {
    const double neighbour = dtype == RAPT_FP16 ? 0x1p-10 : 0x1p-7;
    std::vector<Twin<std::uint16_t>> outs;
    for (std::uint64_t n = 0; n < 5; ++n) outs.push_back(halves(dtype, {2, 5, 4, 72}, 200 + n));
    merge_in_place(std::move(outs), 0, neighbour);
  }
}

TEST_F(GpuVerbs, MergeIgnoresPartsThatSawNoKey) {
  constexpr float kNothing = -std::numeric_limits<float>::infinity();
  const float nan = std::nanf("");
  Twin<float> seen = floats({1, 2, 1, 8}, 1);
  Twin<float> unseen(RAPT_FP32, {1, 2, 1, 8}, std::vector<float>(16, nan));
  Twin<float> seen_lse(RAPT_FP32, {1, 1, 2}, {0.5F, kNothing});
  Twin<float> unseen_lse(RAPT_FP32, {1, 1, 2}, {kNothing, kNothing});
  auto merged = floats({1, 2, 1, 8}, 2), merged_lse = floats({1, 1, 2}, 3);
  for (const Place place : kBoth) {
    const rapt_tensor out[] = {unseen.at(place), seen.at(place)};
    const rapt_tensor lse[] = {unseen_lse.at(place), seen_lse.at(place)};
    const rapt_merge_args args = {sizeof args, 2, out, lse, merged.at(place), merged_lse.at(place)};
    ASSERT_EQ(rapt_merge(&args, nullptr), RAPT_OK) << rapt_error_message();
  }
  EXPECT_EQ(merged.difference(), 0);
  EXPECT_EQ(merged_lse.difference(), 0);
}

// Kernels alone are captured, and a replay reads what the tensors hold by then.
TEST_F(GpuVerbs, AreCapturedIntoAGraph) {
  auto k = floats({3, 2, 32}, 1), v = floats({3, 2, 32}, 2);
  auto k_cache = floats({4, 8, 2, 32}, 3), v_cache = floats({4, 8, 2, 32}, 4);
  auto slots = integers({3}, {3, 9, 1}), pairs = integers({1, 2}, {0, 3});
  auto pages = integers({1}, {2});
  const auto all = [&](Place place, const rapt_options* options) {
    rapt_append_args args{};
    args.struct_size = sizeof args;
    args.k = k.at(place);
    args.v = v.at(place);
    args.k_cache = k_cache.at(place);
    args.v_cache = v_cache.at(place);
    args.slots = slots.at(place);
    args.page_size = 8;
    const rapt_tensor moves = pairs.at(place), cleared = pages.at(place);
    ASSERT_EQ(rapt_append(&args, options), RAPT_OK) << rapt_error_message();
    ASSERT_EQ(rapt_copy_pages(&args.k_cache, &moves, options), RAPT_OK) << rapt_error_message();
    ASSERT_EQ(rapt_clear_pages(&args.v_cache, &cleared, options), RAPT_OK) << rapt_error_message();
  };
  const cuda::Stream stream;
  const rapt_options options = on_cuda(stream.handle());
  all(Place::cuda, &options);  // brings the kernels into memory
  stream.synchronize();
  const cuda::Graph graph(stream, [&] { all(Place::cuda, &options); });
  EXPECT_EQ(graph.nodes(), std::vector<std::string>(3, "kernel"));
  auto other = floats({3, 2, 32}, 9);
  cuda::copy_within(k.at(Place::cuda).data, other.at(Place::cuda).data, 3 * 2 * 32 * sizeof(float));
  cuda::synchronize();
  graph.launch(stream);
  stream.synchronize();
  std::memcpy(k.at(Place::host).data, other.at(Place::host).data, 3 * 2 * 32 * sizeof(float));
  all(Place::host, nullptr);
  EXPECT_EQ(k_cache.difference(), 0);
  EXPECT_EQ(v_cache.difference(), 0);
}

TEST_F(GpuVerbs, Merge) {
  std::vector<Twin<float>> outs, lses;
  for (std::uint64_t part = 0; part < 3; ++part) {
    outs.push_back(floats({2, 5, 4, 64}, 10 + part));
    lses.push_back(floats({2, 4, 5}, 20 + part));
  }
  auto merged = floats({2, 5, 4, 64}, 30), merged_lse = floats({2, 4, 5}, 31);
  for (const Place place : kBoth) {
    std::vector<rapt_tensor> out, lse;
    for (auto& part : outs) out.push_back(part.at(place));
    for (auto& part : lses) lse.push_back(part.at(place));
    const rapt_merge_args args = {sizeof args,         3, out.data(), lse.data(), merged.at(place),
                                  merged_lse.at(place)};
    ASSERT_EQ(rapt_merge(&args, nullptr), RAPT_OK) << rapt_error_message();
  }
  EXPECT_LE(merged.difference(), kRounding);
  EXPECT_LE(merged_lse.difference(), kRounding);
}

}  // namespace
}  // namespace rapt::kit
