// SPDX-License-Identifier: Apache-2.0 OR MIT
// The smaller verbs on CUDA give what the CPU backend gives: append with and without RoPE, the page
// moves, and merge.
#include <cmath>
#include <functional>
#include <vector>

#include "gpu.h"
#include "kit/random.h"

namespace rapt::kit {
namespace {

using Shape = std::vector<std::int64_t>;

// The same values on the host and on the device.
template <class T>
class Twin {
 public:
  Twin(rapt_dtype dtype, const Shape& shape, std::vector<T> values)
      : dtype_(dtype),
        shape_(shape),
        host_(std::move(values)),
        device_(memory_at(Place::cuda), bytes()) {
    cuda::copy_in(device_.data(), host_.data(), bytes());
    cuda::synchronize();
  }

  rapt_tensor at(Place place) {
    const bool on_host = place == Place::host;
    rapt_tensor t = rapt_packed(on_host ? host_.data() : device_.data(), dtype_,
                                static_cast<std::int32_t>(shape_.size()), shape_.data());
    t.device_kind = on_host ? RAPT_CPU : RAPT_CUDA;
    return t;
  }

  // The largest difference between the two.
  [[nodiscard]] double difference() const {
    std::vector<T> copy(host_.size());
    cuda::synchronize();
    cuda::copy_out(copy.data(), device_.data(), bytes());
    double most = 0;
    for (std::size_t n = 0; n < copy.size(); ++n) {
      const double apart = std::fabs(static_cast<double>(copy[n]) - static_cast<double>(host_[n]));
      most = std::isnan(apart) ? INFINITY : std::max(most, apart);
    }
    return most;
  }

 private:
  [[nodiscard]] std::size_t bytes() const { return host_.size() * sizeof(T); }

  rapt_dtype dtype_;
  Shape shape_;
  std::vector<T> host_;
  DeviceBuffer device_;
};

Twin<float> floats(const Shape& shape, std::uint64_t stream) {
  std::int64_t count = 1;
  for (const std::int64_t n : shape) count *= n;
  Random random(7, stream);
  std::vector<float> values;
  for (std::int64_t n = 0; n < count; ++n) values.push_back(static_cast<float>(random.normal()));
  return {RAPT_FP32, shape, values};
}

Twin<std::int64_t> integers(const Shape& shape, std::vector<std::int64_t> values) {
  return {RAPT_INT64, shape, std::move(values)};
}

using GpuVerbs = OnGpu<testing::Test>;
constexpr Place kBoth[] = {Place::host, Place::cuda};

// A rounding apart at most: the two may contract products and sums differently.
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
  EXPECT_LE(k_cache.difference(), rope ? kRounding : 0);
  EXPECT_EQ(v_cache.difference(), 0);
  EXPECT_LE(q_out.difference(), kRounding);
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

// Pairs are read where the cache of the device is.
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
