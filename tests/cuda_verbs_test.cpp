// SPDX-License-Identifier: Apache-2.0 OR MIT
// The smaller verbs on CUDA as far as a machine without a GPU goes: what kernels are compiled for
// and launched with, pages to and from host memory over a stand-in driver, and what is refused.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <vector>

#include "backend/cuda/cache.h"
#include "backend/cuda/jit.h"
#include "backend/cuda/merge.h"
#include "scratch.h"
#include "stand_in_driver.h"

namespace rapt::cuda {
namespace {

using kernels::Element;
using kernels::RopeKind;

alignas(64) char memory[8][64];

// BF16 tokens of 2 kv heads (64 and 32 elements) into pages of 16, 4 query heads.
AppendJob append_job() {
  AppendJob job;
  job.dtype = DType::bf16;
  job.tokens = 5;
  job.k = {{memory[0], 0, 128, 64}, 2, 64};
  job.v = {{memory[1], 0, 64, 32}, 2, 32};
  job.k_pages = {memory[2], 2048, 128, 64, 1, 1};
  job.v_pages = {memory[3], 1024, 64, 32, 1, 1};
  job.page_size = 16;
  job.pages = 7;
  job.slots = {memory[4], DType::int64, 3};
  job.device_kind = DeviceKind::cuda;
  return job;
}

void turn(AppendJob& job, std::int64_t rotary_dim, bool interleaved) {
  job.q = {{memory[5], 0, 256, 64}, 4, 64};
  job.q_out = {memory[6], 0, 256, 64};
  job.rope.cos = job.rope.sin = reinterpret_cast<const float*>(memory[7]);
  job.rope.cos_stride = job.rope.sin_stride = rotary_dim / 2;
  job.rope.positions = {memory[4], DType::int32, 1};
  job.rope.table_rows = 50;
  job.rope.rotary_dim = rotary_dim;
  job.rope.interleaved = interleaved;
}

TEST(CudaAppend, MovesSixteenBytesAtATimeWhereEverythingIsAligned) {
  AppendJob job = append_job();
  EXPECT_EQ(append_config(job).aligned, 1);
  EXPECT_EQ(append_config(job).rope, RopeKind::none);
  job.k.from.head_stride = 68;
  EXPECT_EQ(append_config(job).aligned, 0);
  job = append_job();
  job.v_pages.data = memory[3] + 2;
  EXPECT_EQ(append_config(job).aligned, 0);
  job.v_pages.token_stride = 1;  // turned: written element by element, wherever it lies
  job.v_pages.dim_stride = 16;
  EXPECT_EQ(append_config(job).aligned, 1);
  job.k_pages = {memory[2], 2048, 8, 1024, 128, 8};  // x-packed
  EXPECT_EQ(append_config(job).aligned, 1);
  job.k_pages.dim_stride = 132;
  EXPECT_EQ(append_config(job).aligned, 0);
}

TEST(CudaAppend, IsAlignedOnlyWhereRopeEndsOnWholeAccesses) {
  AppendJob job = append_job();
  turn(job, 32, false);
  EXPECT_EQ(append_config(job).aligned, 1);
  turn(job, 24, false);  // halves of 12
  EXPECT_EQ(append_config(job).aligned, 0);
  turn(job, 24, true);
  EXPECT_EQ(append_config(job).aligned, 1);
  turn(job, 10, true);
  EXPECT_EQ(append_config(job).aligned, 0);
  turn(job, 32, true);
  job.q_out.data = memory[6] + 2;
  EXPECT_EQ(append_config(job).aligned, 0);
}

TEST(CudaAppend, ElementsMatterOnlyToRope) {
  AppendJob job = append_job();
  job.dtype = DType::fp16;
  EXPECT_EQ(append_config(job).element, kernels::AppendConfig{}.element);
  EXPECT_EQ(append_config(job).bytes, 2);
  turn(job, 32, false);
  EXPECT_EQ(append_config(job).element, Element::fp16);
  job.dtype = DType::fp8_e5m2;
  EXPECT_EQ(append_config(job).bytes, 1);
  EXPECT_EQ(append(job, {}).sentence(),
            "rope: the cache has 8-bit elements, rope takes fp32, fp16 or bf16");
}

TEST(CudaAppend, CountsAccessesOfEveryHead) {
  AppendJob job = append_job();
  turn(job, 32, false);
  const auto whole = append_params(job, append_config(job));
  EXPECT_EQ(whole.sides[0].turned_units, 2);  // pairs of accesses
  EXPECT_EQ(whole.sides[0].copied_units, 4);
  EXPECT_EQ(whole.sides[0].copied_from, 32);
  EXPECT_EQ(whole.sides[1].turned_units, 0);
  EXPECT_EQ(whole.sides[1].copied_units, 4);
  EXPECT_EQ(whole.sides[1].copied_from, 0);
  EXPECT_EQ(whole.sides[2].turned_units, 2);
  turn(job, 10, true);
  const auto pairs = append_params(job, append_config(job));
  EXPECT_EQ(pairs.sides[0].turned_units, 5);
  EXPECT_EQ(pairs.sides[0].copied_units, 27);
  turn(job, 10, false);
  const auto single = append_params(job, append_config(job));
  EXPECT_EQ(single.sides[2].turned_units, 5);
  EXPECT_EQ(single.sides[2].copied_units, 54);
}

TEST(CudaAppend, FillsParameters) {
  AppendJob job = append_job();
  turn(job, 32, true);
  job.k_pages = {memory[2], 2048, 8, 1024, 128, 8};
  const auto p = append_params(job, append_config(job));
  EXPECT_EQ(p.tokens, 5);
  EXPECT_EQ(p.slots, static_cast<const void*>(memory[4]));
  EXPECT_EQ(p.slots_stride, 3);
  EXPECT_EQ(p.pages, 7);
  EXPECT_EQ(p.page_shift, 4);
  EXPECT_EQ(p.pairs, 16);
  EXPECT_EQ(p.table_rows, 50);
  EXPECT_EQ(p.positions.kind, kernels::IndexKind::int32);
  EXPECT_EQ(p.sides[0].run_shift, 3);
  EXPECT_EQ(p.sides[0].run_stride, 128);
  EXPECT_EQ(p.sides[0].paged, 1);
  EXPECT_EQ(1 << p.sides[1].run_shift, 1 << 30);
  EXPECT_EQ(p.sides[2].paged, 0);
  EXPECT_EQ(p.sides[2].heads, 4);
  EXPECT_EQ(p.sides[2].to, static_cast<void*>(memory[6]));
  EXPECT_EQ(p.sides[2].to_token_stride, 256);
}

TEST(CudaAppend, RefusesMoreHeadsThanItCounts) {
  AppendJob job = append_job();
  job.k.heads = (1 << 22) + 1;
  EXPECT_EQ(append(job, {}).sentence(), "k: kv_heads is 4194305, this kernel takes 2^22");
  job.k.heads = 2;
  job.q.heads = (1 << 22) + 1;
  EXPECT_EQ(append(job, {}).sentence(), "q: q_heads is 4194305, this kernel takes 2^22");
}

// FP32 pages of [3, 4]; the other cache has a gap behind every row.
struct Swap {
  std::vector<float> from = std::vector<float>(5 * 12), to = std::vector<float>(4 * 3 * 6);
  std::vector<std::int64_t> pairs = {4, 1, 0, 3};
  PageJob job;

  Swap() {
    for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i + 1);
    job.dtype = DType::fp32;
    job.rank = 2;
    job.shape[0] = 3;
    job.shape[1] = 4;
    job.from_strides[0] = 4;
    job.to_strides[0] = 6;
    job.from_strides[1] = job.to_strides[1] = 1;
    job.from = from.data();
    job.to = to.data();
    job.from_page_stride = 12;
    job.to_page_stride = 18;
    job.from_pages = 5;
    job.to_pages = 4;
    job.count = 2;
    job.sources = pairs.data();
    job.targets = pairs.data() + 1;
    job.index_stride = 2;
    job.device_kind = job.from_kind = DeviceKind::cuda;
  }

  void expect_moved() const {
    std::vector<float> want(to.size());
    for (std::size_t pair = 0; pair < pairs.size(); pair += 2) {
      for (std::size_t i = 0; i < 12; ++i) {
        want[static_cast<std::size_t>(pairs[pair + 1]) * 18 + i / 4 * 6 + i % 4] =
            from[static_cast<std::size_t>(pairs[pair]) * 12 + i];
      }
    }
    EXPECT_EQ(to, want);
  }
};

TEST(CudaPages, AccessesAreAsWideAsRunsAndStridesAllow) {
  Swap swap;
  swap.job.to_kind = DeviceKind::cuda;
  const auto unit_with = [&](std::int64_t to_stride, std::int64_t page_stride) {
    swap.job.to_strides[0] = to_stride;
    swap.job.to_page_stride = page_stride;
    swap.job.from = memory[0];
    swap.job.to = memory[1];
    return move_config(swap.job).unit_bytes;
  };
  EXPECT_EQ(unit_with(8, 24), 16);
  EXPECT_EQ(unit_with(6, 24), 8);
  EXPECT_EQ(unit_with(6, 25), 4);
  EXPECT_EQ(move_config(swap.job).strided, 1);
  EXPECT_EQ(move_config(swap.job).clear, 0);
  swap.job.dtype = DType::int8;
  EXPECT_EQ(unit_with(6, 25), 1);
  EXPECT_EQ(unit_with(4, 12), 4);
  EXPECT_EQ(move_config(swap.job).strided, 0);
  swap.job.from = nullptr;
  swap.job.from_page_stride = 1;  // nobody reads
  EXPECT_EQ(move_config(swap.job).clear, 1);
  EXPECT_EQ(move_config(swap.job).unit_bytes, 4);
}

TEST(CudaPages, FillsParametersInBytes) {
  const Swap swap;
  const auto config = move_config(swap.job);
  const auto p = move_params(swap.job, config);
  EXPECT_EQ(p.run_units * config.unit_bytes, 16);
  EXPECT_EQ(p.page_units * config.unit_bytes, 48);
  EXPECT_EQ(p.outer, 1);
  EXPECT_EQ(p.shape[0], 3);
  EXPECT_EQ(p.from_strides[0], 16);
  EXPECT_EQ(p.to_strides[0], 24);
  EXPECT_EQ(p.from_page_stride, 48);
  EXPECT_EQ(p.to_page_stride, 72);
  EXPECT_EQ(p.from_pages, 5);
  EXPECT_EQ(p.to_pages, 4);
  EXPECT_EQ(p.moves, 2);
  EXPECT_EQ(p.index_stride, 2);
}

// A driver for which device memory is host memory.
Driver copying_driver() {
  DriverApi api = test::pretend();
  api.memcpy_async = [](void* to, const void* from, std::size_t bytes, CUstream) {
    std::memcpy(to, from, bytes);
    return kSuccess;
  };
  api.stream_synchronize = [](CUstream) { return kSuccess; };
  api.stream_is_capturing = [](CUstream stream, int* status) {
    *status = stream == nullptr ? 0 : 1;
    return kSuccess;
  };
  return Driver(api);
}

TEST(CudaPages, SwapsWithHostMemoryByPairsInEither) {
  const Driver driver = copying_driver();
  for (const DeviceKind pairs : {DeviceKind::cpu, DeviceKind::cuda}) {
    Swap swap;
    swap.job.index_kind = pairs;
    ASSERT_TRUE(swap_with_host(swap.job, driver, nullptr).ok());
    swap.expect_moved();
  }
}

TEST(CudaPages, PairsThatWereReadBackAreCheckedBeforeAnythingIsWritten) {
  const Driver driver = copying_driver();
  const std::vector<float> untouched(4 * 3 * 6);
  Swap swap;
  swap.job.index_kind = DeviceKind::cuda;
  swap.pairs[3] = 4;
  EXPECT_EQ(swap_with_host(swap.job, driver, nullptr).sentence(),
            "pairs: entry 1[1] is 4, there are 4 pages");
  swap.pairs[2] = -1;
  EXPECT_EQ(swap_with_host(swap.job, driver, nullptr).sentence(),
            "pairs: entry 1[0] is -1, there are 5 pages");
  EXPECT_EQ(swap.to, untouched);
}

TEST(CudaPages, PairsOnTheDeviceAreNotReadBackIntoAGraph) {
  const Driver driver = copying_driver();
  Swap swap;
  const auto capturing = reinterpret_cast<CUstream>(memory[0]);
  ASSERT_TRUE(swap_with_host(swap.job, driver, capturing).ok());
  swap.job.index_kind = DeviceKind::cuda;
  EXPECT_EQ(swap_with_host(swap.job, driver, capturing).sentence(),
            "pairs: are on the device and a graph is being captured; one cache is in host memory, "
            "so they must be there too");
}

TEST(CudaPages, RefusesPagesLargerThanItCounts) {
  PageJob job;
  job.dtype = DType::int8;
  job.rank = 1;
  job.shape[0] = (std::int64_t{1} << 31) + 1;
  job.to_strides[0] = 1;
  job.to = memory[0];
  job.to_pages = job.count = 1;
  EXPECT_EQ(check_pages(job).sentence(),
            "cache: a page is 2147483649 accesses of 1 bytes, this kernel takes 2^31");
  job.shape[0] = std::int64_t{1} << 31;
  EXPECT_TRUE(check_pages(job).ok());
}

MergeJob merge_job(std::size_t parts) {
  MergeJob job;
  job.dtype = DType::bf16;
  job.batch = 2;
  job.tokens = 3;
  job.heads = 4;
  job.dim = 64;
  for (std::size_t i = 0; i < parts; ++i) {
    job.out.push_back({memory[i % 8], 768, 256, 64});
    job.lse.push_back({memory[(i + 1) % 8], 12, 1, 3});
  }
  job.merged_out = {memory[0], 768, 256, 64};
  job.merged_lse = {memory[1], 12, 1, 3};
  return job;
}

TEST(CudaMerge, OneLaunchTakesUpToThirtyTwoParts) {
  const MergeJob job = merge_job(32);
  EXPECT_EQ(merge_config(job).chained, 0);
  EXPECT_EQ(merge_config(job).aligned, 1);
  EXPECT_EQ(merge_carried_bytes(job), 0U);
  const auto p = merge_params(job, 0, nullptr);
  EXPECT_EQ(p.count, 32);
  EXPECT_EQ(p.takes + p.leaves, 0);
  EXPECT_EQ(p.parts[3].out.data, static_cast<void*>(memory[3]));
  EXPECT_EQ(p.parts[3].lse.data, static_cast<void*>(memory[4]));
  EXPECT_EQ(p.merged.lse.head_stride, 3);
  EXPECT_EQ(p.batch * p.tokens * p.heads * p.dim, 2 * 3 * 4 * 64);
}

TEST(CudaMerge, MorePartsAreAChain) {
  const MergeJob job = merge_job(70);
  EXPECT_EQ(merge_config(job).chained, 1);
  EXPECT_EQ(merge_carried_bytes(job), 24U * 65 * sizeof(float));
  std::vector<float> carried(24 * 65);
  const auto first = merge_params(job, 0, carried.data());
  const auto second = merge_params(job, 32, carried.data());
  const auto last = merge_params(job, 64, carried.data());
  EXPECT_EQ(first.takes, 0);
  EXPECT_EQ(first.leaves, 1);
  EXPECT_EQ(second.takes, 1);
  EXPECT_EQ(second.leaves, 1);
  EXPECT_EQ(second.parts[31].out.data, static_cast<void*>(memory[63 % 8]));
  EXPECT_EQ(last.takes, 1);
  EXPECT_EQ(last.leaves, 0);
  EXPECT_EQ(last.count, 6);
  EXPECT_EQ(last.carried_lse - last.carried_out, 24 * 64);
}

TEST(CudaMerge, IsAlignedOnlyWhereEveryPartIs) {
  MergeJob job = merge_job(3);
  job.out[2].token_stride = 260;
  EXPECT_EQ(merge_config(job).aligned, 0);
  job = merge_job(3);
  job.merged_out.data = memory[0] + 2;
  EXPECT_EQ(merge_config(job).aligned, 0);
}

TEST(CudaMerge, RefusesMoreRowsThanItCounts) {
  MergeJob job = merge_job(1);
  job.tokens = std::int64_t{1} << 30;
  EXPECT_EQ(merge(job, {}).sentence(),
            "out[0]: q_len is 1073741824 for 4 heads, this kernel takes 2^31 rows");
}

// NVRTC takes what usual models run, and no register spills.
TEST(CudaVerbs, KernelsCompileWithoutSpills) {
  constexpr Arch kHopper{90, 1};
  std::string why;
  if (NvrtcFinder::system().find(kHopper, 0, why) == nullptr) GTEST_SKIP() << why;
  const test::Scratch scratch;
  const CubinCache cache(CacheSettings{.directory = scratch.at("cache")});
  const Compiler compiler(NvrtcFinder::system(), cache, 0);
  std::vector<KernelKey> keys;
  add_append_kernels(Preset::common, kHopper, keys);
  add_move_kernels(Preset::common, kHopper, keys);
  add_merge_kernels(Preset::common, kHopper, keys);
  for (const KernelKey& key : keys) {
    Source source;
    Cubin cubin;
    ASSERT_TRUE(kernel_source(key, "", source).ok());
    const Status status = compiler.compile(source, kHopper, cubin);
    ASSERT_TRUE(status.ok()) << status.sentence();
    EXPECT_EQ(cubin.resources.spill_store_bytes, 0) << key.family->words(key.config.data());
  }
}

}  // namespace
}  // namespace rapt::cuda
