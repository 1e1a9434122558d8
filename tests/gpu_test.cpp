// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CUDA backend: every named case on every kernel, held against the oracle that judges the CPU
// backend too; the same bits again and again, on any stream, thread and context; and nonsense in
// the indices.
#include <algorithm>
#include <memory>
#include <thread>

#include "gpu.h"
#include "kit/attempt.h"
#include "kit/device_problem.h"

namespace rapt::kit {
namespace {

std::string judged(const std::string& text, const rapt_options& options) {
  const Attempt result = attempt(case_of(text), options);
  return result.verdict.passed ? "" : result.verdict.sentence;
}

using GpuDevice = OnGpu<testing::Test>;

TEST_F(GpuDevice, IsListedWithItsKernels) {
  std::size_t count = 0;
  ASSERT_EQ(rapt_devices(nullptr, 0, &count), RAPT_OK);
  rapt_device_info empty{};
  empty.struct_size = sizeof empty;
  std::vector<rapt_device_info> devices(count, empty);
  ASSERT_EQ(rapt_devices(devices.data(), count, &count), RAPT_OK);
  const auto device = std::find_if(devices.begin(), devices.end(), [](const auto& d) {
    return std::string(d.backend) == "cuda" && d.index == 0;
  });
  ASSERT_NE(device, devices.end());
  EXPECT_EQ(device->available, 1);
  EXPECT_EQ(device->name, cuda::device_info().name);
  EXPECT_EQ(device->workers, cuda::device_info().multiprocessors);
  EXPECT_FALSE(cuda_kernels().empty());
}

TEST_F(GpuDevice, TensorsOfTheHostAreRefused) {
  const Workload host(case_of("q_len=8"));
  const rapt_options options = on_cuda();
  EXPECT_NE(rapt_attend(&host.attention(), &options), RAPT_OK);
}

class GpuCase : public OnGpu<testing::TestWithParam<NamedCase>> {};

TEST_P(GpuCase, IsRight) { EXPECT_EQ(judged(GetParam().text, on_cuda()), ""); }

TEST_P(GpuCase, IsRightOnEveryKernelThatTakesIt) {
  int taken = 0;
  for (const std::string& kernel : cuda_kernels()) {
    rapt_options options = on_cuda();
    options.kernel = kernel.c_str();
    const Attempt result = attempt(case_of(GetParam().text), options);
    if (result.refused()) continue;
    ++taken;
    EXPECT_TRUE(result.verdict.passed) << kernel << ": " << result.verdict.sentence;
  }
  EXPECT_GT(taken, 0);
}

std::string case_name(const testing::TestParamInfo<NamedCase>& info) { return info.param.name; }
INSTANTIATE_TEST_SUITE_P(Gpu, GpuCase, testing::ValuesIn(named_cases()), case_name);

// More of what grids and tiles are about: many blocks, more heads than a grid's side, much work.
const NamedCase kSizes[] = {
    {"heads_times_batch_over_65535",
     "dtype=bf16 batch=9000 q_heads=8 kv_heads=1 q_len=1 kv_len=3 head_dim=8"},
    {"many_short_sequences", "batch=700 q_len=3 kv_len=5 q_heads=2 dtype=bf16 mask=causal"},
    {"one_long_decode", "dtype=bf16 q_len=1 kv_len=40000 q_heads=4 kv_heads=1 head_dim=128"},
    {"long_decode_window", "dtype=fp16 q_len=1 kv_len=40000 left=4000 right=0 sink_tokens=4"},
    {"square_bf16_d128", "dtype=bf16 q_len=1111 q_heads=2 head_dim=128 mask=causal"},
    {"square_fp16_d64", "dtype=fp16 q_len=1111 q_heads=2 head_dim=64"},
    {"square_fp32_d256", "q_len=700 q_heads=2 head_dim=256 mask=causal"},
    {"uneven_ragged",
     "q=ragged kv=ragged q_lens=900,1,0,130,5 kv_lens=900,700,9,130,2000 dtype=bf16 q_heads=4 "
     "kv_heads=2 mask=causal"},
};
INSTANTIATE_TEST_SUITE_P(GpuSizes, GpuCase, testing::ValuesIn(kSizes), case_name);

const char* const kTexts[] = {
    "dtype=bf16 q_len=1 kv_len=3000 q_heads=8 kv_heads=2 head_dim=128",
    "dtype=fp16 batch=2 q_len=300 q_heads=4 kv_heads=2 mask=causal dropout=0.2",
    "q_len=257 kv_len=900 q_heads=2 sinks=1 alibi=head",
    "dtype=bf16 q=ragged page_size=16 q_lens=3,70,1 kv_lens=900,70,2000 q_heads=4 mask=causal",
};

class GpuRepeat : public OnGpu<testing::TestWithParam<const char*>> {};

TEST_P(GpuRepeat, GivesTheSameBitsTwoHundredTimes) {
  GpuWorkload workload(GetParam());
  attend(workload);
  const std::string once = answer(workload);
  ASSERT_EQ(check(workload).sentence, "");
  for (int run = 1; run < 200; ++run) {
    workload.poison_outputs();
    attend(workload);
    ASSERT_TRUE(answer(workload) == once) << "run " << run;
  }
}

INSTANTIATE_TEST_SUITE_P(Gpu, GpuRepeat, testing::ValuesIn(kTexts));

using GpuStreams = OnGpu<testing::Test>;

// The answers of kTexts, each computed alone.
std::vector<std::string> answers_alone() {
  std::vector<std::string> answers;
  for (const char* text : kTexts) {
    GpuWorkload workload(text);
    attend(workload);
    answers.push_back(answer(workload));
  }
  return answers;
}

TEST_F(GpuStreams, WorkSideBySide) {
  const std::vector<std::string> alone = answers_alone();
  std::vector<std::unique_ptr<GpuWorkload>> workloads;
  for (const char* text : kTexts) workloads.push_back(std::make_unique<GpuWorkload>(text));
  const std::vector<cuda::Stream> streams(workloads.size());
  for (int round = 0; round < 25; ++round) {
    for (std::size_t n = 0; n < streams.size(); ++n) attend(*workloads[n], streams[n].handle());
  }
  for (std::size_t n = 0; n < streams.size(); ++n) {
    EXPECT_TRUE(answer(*workloads[n]) == alone[n]) << kTexts[n];
  }
}

// One thread's share: its own workload and stream, planned and direct.
std::string answer_of_thread(const char* text) {
  GpuWorkload workload(text);
  const cuda::Stream stream;
  const GpuPlan plan(workload, stream.handle());
  EXPECT_EQ(plan.status(), RAPT_OK) << rapt_error_message();
  std::string last;
  for (int round = 0; round < 10; ++round) {
    workload.poison_outputs();
    attend(workload, stream.handle());
    const std::string direct = answer(workload);
    workload.poison_outputs();
    EXPECT_EQ(plan.run(workload), RAPT_OK) << rapt_error_message();
    last = answer(workload);
    EXPECT_TRUE(last == direct) << text << ", round " << round;
  }
  return last;
}

TEST_F(GpuStreams, ThreadsWorkSideBySide) {
  const std::vector<std::string> alone = answers_alone();
  std::vector<std::string> answers(2 * alone.size());
  std::vector<std::thread> threads;
  for (std::size_t n = 0; n < answers.size(); ++n) {
    threads.emplace_back([&answers, n] { answers[n] = answer_of_thread(kTexts[n % 4]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t n = 0; n < answers.size(); ++n) {
    EXPECT_TRUE(answers[n] == alone[n % alone.size()]) << kTexts[n % 4];
  }
}

using GpuContext = OnGpu<testing::Test>;

// Twice, since a new context may have the address of one that is gone.
TEST_F(GpuContext, OneOfTheCallersOwnServesToo) {
  for (int round = 0; round < 2; ++round) {
    const cuda::OwnContext own;
    for (const char* text : kTexts) EXPECT_EQ(judged(text, on_cuda()), "") << text;
  }
  for (const char* text : kTexts) EXPECT_EQ(judged(text, on_cuda()), "") << text;
}

TEST_F(GpuContext, AThreadWithoutOneIsServed) {
  std::string sentence = "never ran";
  std::thread([&sentence] { sentence = judged(kTexts[0], on_cuda()); }).join();
  EXPECT_EQ(sentence, "");
}

class GpuIndices : public OnGpu<testing::TestWithParam<const char*>> {};

std::vector<rapt_tensor> indices_of(const Workload& workload) {
  ProblemCopy problem(workload.attention());
  std::vector<rapt_tensor> found;
  for (const rapt_tensor* t : problem.tensors()) {
    if (t->dtype == RAPT_INT32 || t->dtype == RAPT_UINT32) found.push_back(*t);
  }
  return found;
}

// The answer is of no worth, but nothing outside the tensors is read (the sanitizer sees to that)
// or written, and the device lives on.
TEST_P(GpuIndices, NonsenseIsClamped) {
  for (const std::int32_t nonsense : {-1, INT32_MIN, INT32_MAX, 7, 1 << 20}) {
    GpuWorkload workload(GetParam());
    const std::size_t count = indices_of(workload).size();
    ASSERT_GT(count, 0U);
    for (const rapt_tensor& t : indices_of(workload)) {
      const std::vector<std::int32_t> values(static_cast<std::size_t>(t.shape[0] * t.strides[0]),
                                             nonsense);
      cuda::copy_in(t.data, values.data(), values.size() * sizeof nonsense);
      cuda::synchronize();
      attend(workload);
      ASSERT_NO_THROW(workload.download()) << nonsense;
      EXPECT_EQ(workload.stray_writes(), "inputs: their memory was written");
    }
  }
  EXPECT_EQ(judged(GetParam(), on_cuda()), "");
}

const char* const kIndexed[] = {
    "page_size=16 batch=3 kv_lens=40,0,90 q_len=9 q_heads=2 dtype=bf16 mask=causal order=padded",
    "q=ragged kv=ragged q_lens=3,40,1 kv_lens=10,70,90 q_heads=2 order=padded",
    "q=ragged page_size=8 q_lens=3,9 kv_lens=10,70 dtype=fp16 order=padded",
    "batch=3 q_len=9 q_lens=9,0,4 kv_lens=140,20,1 left_pad=1 cache_row=1 order=padded",
};
INSTANTIATE_TEST_SUITE_P(Gpu, GpuIndices, testing::ValuesIn(kIndexed));

}  // namespace
}  // namespace rapt::kit
