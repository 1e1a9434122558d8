// SPDX-License-Identifier: Apache-2.0 OR MIT
// Gradients on a CUDA device: every feature on every kernel, held against the oracle that judges
// the CPU's; the same bits again and again; CUDA graphs; and what is refused.
#include <string>
#include <vector>

#include "gpu.h"
#include "kit/attempt.h"

namespace rapt::kit {
namespace {

const char* const kAtomic = "cuda/portable_backward_atomic";

nlohmann::json explained(const Workload& workload, const rapt_options& options) {
  std::vector<char> text(1 << 16);
  EXPECT_EQ(
      rapt_explain_backward(&workload.gradient(), &options, text.data(), text.size(), nullptr),
      RAPT_OK)
      << rapt_error_message();
  return nlohmann::json::parse(text.data());
}

// Every backward kernel of the CUDA table.
std::vector<std::string> cuda_backwards() {
  const Workload workload(case_of("direction=backward"), Contents::none, Place::cuda);
  const nlohmann::json answer = explained(workload, on_cuda());
  std::vector<std::string> names = {answer["chosen"]};
  for (const auto& other : answer["refused"]) {
    const std::string name = other["kernel"];
    if (name.rfind("cuda/", 0) == 0) names.push_back(name);
  }
  return names;
}

rapt_options on_kernel(const std::string& kernel) {
  rapt_options options = on_cuda();
  options.kernel = kernel.c_str();
  return options;
}

// Forward and backward of a workload; its gradients' bits.
void differentiate(const Workload& workload, const rapt_options& options) {
  attend(workload, options.stream);
  ASSERT_EQ(rapt_attend_backward(&workload.gradient(), &options), RAPT_OK) << rapt_error_message();
}

class GpuBackward : public OnGpu<testing::TestWithParam<const char*>> {};

TEST_P(GpuBackward, IsTheOraclesOnEveryKernelThatTakesIt) {
  for (const char* dtype : {"fp32", "fp16", "bf16", "bf16 out_dtype=fp32"}) {
    const std::string text =
        "direction=backward " + std::string(GetParam()) + " dtype=" + std::string(dtype);
    int taken = 0;
    for (const std::string& kernel : cuda_backwards()) {
      Workload workload(case_of(text), Contents::values, Place::cuda);
      const rapt_options options = on_kernel(kernel);
      attend(workload);
      if (rapt_attend_backward(&workload.gradient(), &options) == RAPT_UNSUPPORTED) continue;
      ++taken;
      workload.download();
      EXPECT_EQ(check_gradient(workload).sentence, "") << kernel << ": " << text;
    }
    EXPECT_GT(taken, 0) << text;
  }
}

INSTANTIATE_TEST_SUITE_P(GpuFeatures, GpuBackward, testing::ValuesIn(gradient_cases()));

// Many tiles and blocks: turns are waited for, sequences begin inside tiles, groups do not divide
// them, and grids have more blocks than work.
const char* const kSizes[] = {
    "q_len=300 q_heads=2 head_dim=128 mask=causal",
    "q_len=215 kv_len=500 q_heads=6 kv_heads=2 head_dim=64 left=200 right=0 "
    "sink_tokens=140",
    "q=ragged kv=ragged q_lens=300,1,0,65 kv_lens=300,70,9,200 q_heads=4 kv_heads=2 "
    "mask=causal",
    "q_len=130 kv_len=260 head_dim=192 value_dim=72 mask=causal",
    "q_len=200 kv_len=300 q_heads=3 kv_heads=1 mask=causal sinks=1",
};
INSTANTIATE_TEST_SUITE_P(GpuSizes, GpuBackward, testing::ValuesIn(kSizes));

const char* const kRepeated[] = {
    "dtype=bf16 q_len=300 kv_len=700 q_heads=4 kv_heads=2 mask=causal",
    "dtype=fp16 batch=2 q_len=150 kv_len=400 q_heads=2 bias=fp32 bias_dims= alibi=head sinks=1",
    "q_len=150 kv_len=300 q_heads=2 head_dim=96 dropout=0.2",
};

class GpuBackwardRepeat : public OnGpu<testing::TestWithParam<const char*>> {};

TEST_P(GpuBackwardRepeat, GivesTheSameBitsTwoHundredTimes) {
  GpuWorkload workload("direction=backward " + std::string(GetParam()));
  differentiate(workload, on_cuda());
  const std::string once = answer(workload);
  ASSERT_EQ(check_gradient(workload).sentence, "");
  for (int run = 1; run < 200; ++run) {
    workload.poison_outputs();
    differentiate(workload, on_cuda());
    ASSERT_TRUE(answer(workload) == once) << "run " << run;
  }
}

class GpuGraphBackward : public OnGpu<testing::TestWithParam<const char*>> {};

TEST_P(GpuGraphBackward, ReplaysADirectCall) {
  GpuWorkload workload("direction=backward " + std::string(GetParam()));
  const cuda::Stream stream;
  const rapt_options options = on_cuda(stream.handle());
  differentiate(workload, options);
  const std::string once = answer(workload);
  rapt_status status = RAPT_INTERNAL;
  const cuda::Graph graph(stream,
                          [&] { status = rapt_attend_backward(&workload.gradient(), &options); });
  ASSERT_EQ(status, RAPT_OK) << rapt_error_message();
  workload.poison_outputs();
  attend(workload, stream.handle());
  graph.launch(stream);
  EXPECT_TRUE(answer(workload) == once);
}

INSTANTIATE_TEST_SUITE_P(Gpu, GpuBackwardRepeat, testing::ValuesIn(kRepeated));
INSTANTIATE_TEST_SUITE_P(Gpu, GpuGraphBackward, testing::ValuesIn(kRepeated));

using GpuBackwardRefusal = OnGpu<testing::Test>;

TEST_F(GpuBackwardRefusal, OfPagesIsASentence) {
  GpuWorkload workload("direction=backward dtype=bf16 page_size=16 kv_len=100");
  attend(workload);
  const rapt_options options = on_cuda();
  EXPECT_EQ(rapt_attend_backward(&workload.gradient(), &options), RAPT_UNSUPPORTED);
  EXPECT_EQ(std::string(rapt_error_message()).rfind("pages: a CUDA kernel has no gradient", 0), 0U)
      << rapt_error_message();
}

TEST_F(GpuBackwardRefusal, OfTheAtomicKernelEndsWhereItIsNamed) {
  const Workload workload(case_of("direction=backward dtype=bf16 q_len=300"), Contents::none,
                          Place::cuda);
  EXPECT_NE(explained(workload, on_cuda())["chosen"], kAtomic);
  EXPECT_EQ(explained(workload, on_kernel(kAtomic))["chosen"], kAtomic);
}

}  // namespace
}  // namespace rapt::kit
