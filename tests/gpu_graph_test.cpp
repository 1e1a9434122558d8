// SPDX-License-Identifier: Apache-2.0 OR MIT
// CUDA graphs: planned runs and direct calls are captured, and a replay computes what the tensors
// hold by then. A captured run holds kernels and nothing else, which is the promise that a run
// allocates, copies and waits for nothing.
#include <memory>
#include <set>

#include "allocations.h"
#include "gpu.h"

namespace rapt::kit {
namespace {

// Shapes that decide between one pass and splits over keys, each in two contents.
const char* const kTexts[] = {
    "dtype=bf16 q_len=200 q_heads=4 kv_heads=2 head_dim=128 mask=causal",
    "dtype=fp16 batch=2 q_len=1 kv_len=4000 q_heads=8 kv_heads=2",
    "q_len=150 kv_len=700 q_heads=2 softcap=20 sinks=1",
};

std::string with_seed(const std::string& text, int seed) {
  return text + " seed=" + std::to_string(seed);
}

// Packed, so that a tensor is one stretch of memory.
std::size_t bytes_of(const rapt_tensor& t) {
  return static_cast<std::size_t>(t.shape[0] * t.strides[0]) * rapt_dtype_bytes(t.dtype);
}

// Gives `to` the inputs of `from`, a case that differs in its seed alone.
void copy_inputs(const Workload& to, const Workload& from) {
  const auto copy = [](const rapt_tensor& target, const rapt_tensor& source) {
    cuda::copy_within(target.data, source.data, bytes_of(source));
  };
  copy(to.attention().q, from.attention().q);
  copy(to.attention().k, from.attention().k);
  copy(to.attention().v, from.attention().v);
  if (from.attention().sinks != nullptr) {
    copy(to.attention().sinks->sinks, from.attention().sinks->sinks);
  }
  cuda::synchronize();
}

class GpuGraph : public OnGpu<testing::TestWithParam<const char*>> {
 protected:
  void SetUp() override {
    OnGpu::SetUp();
    if (!IsSkipped()) first_ = std::make_unique<GpuWorkload>(with_seed(GetParam(), 3));
  }

  // Replays on the first inputs and on two others, and compares with what a direct call gives.
  void replay_and_compare(const cuda::Graph& graph) {
    for (const int seed : {3, 5, 7}) {
      GpuWorkload other(with_seed(GetParam(), seed));
      attend(other);
      const std::string right = answer(other);
      first_->poison_outputs();
      copy_inputs(*first_, other);
      graph.launch(stream());
      EXPECT_TRUE(answer(*first_) == right) << "seed " << seed;
    }
  }

  [[nodiscard]] const GpuWorkload& first() const { return *first_; }
  const cuda::Stream& stream() {
    if (stream_ == nullptr) stream_ = std::make_unique<cuda::Stream>();
    return *stream_;
  }

 private:
  std::unique_ptr<GpuWorkload> first_;
  std::unique_ptr<cuda::Stream> stream_;
};

TEST_P(GpuGraph, ReplaysARun) {
  const GpuPlan plan(first(), stream().handle());
  ASSERT_EQ(plan.status(), RAPT_OK) << rapt_error_message();
  stream().synchronize();
  rapt_status status = RAPT_INTERNAL;
  const cuda::Graph graph(stream(), [&] { status = plan.run(first()); });
  ASSERT_EQ(status, RAPT_OK) << rapt_error_message();
  replay_and_compare(graph);
}

TEST_P(GpuGraph, ReplaysADirectCall) {
  attend(first(), stream().handle());  // compiles and loads, which no capture allows
  stream().synchronize();
  const rapt_options options = on_cuda(stream().handle());
  rapt_status status = RAPT_INTERNAL;
  const cuda::Graph graph(stream(), [&] { status = rapt_attend(&first().attention(), &options); });
  ASSERT_EQ(status, RAPT_OK) << rapt_error_message();
  replay_and_compare(graph);
}

TEST_P(GpuGraph, ARunIsNothingButKernels) {
  const GpuPlan plan(first(), stream().handle());
  ASSERT_EQ(plan.status(), RAPT_OK) << rapt_error_message();
  ASSERT_EQ(plan.run(first()), RAPT_OK) << rapt_error_message();
  stream().synchronize();
  rapt_status status = RAPT_INTERNAL;
  std::int64_t allocated = -1;
  const cuda::Graph graph(stream(), [&] {
    const std::int64_t before = allocations();
    status = plan.run(first());
    allocated = allocations() - before;
  });
  ASSERT_EQ(status, RAPT_OK) << rapt_error_message();
  EXPECT_EQ(allocated, 0) << "allocations of the host";
  const std::vector<std::string> nodes = graph.nodes();
  EXPECT_FALSE(nodes.empty());
  EXPECT_EQ(std::set<std::string>(nodes.begin(), nodes.end()), std::set<std::string>{"kernel"});
}

INSTANTIATE_TEST_SUITE_P(Gpu, GpuGraph, testing::ValuesIn(kTexts));

using GpuSteps = OnGpu<testing::Test>;

// One graph, captured once, serves every step within its plan's bounds: lengths come with upload.
TEST_F(GpuSteps, AGraphServesOtherLengths) {
  const std::string shape = "dtype=bf16 batch=2 q_len=1 kv_len=900 q_heads=8 kv_heads=2 kv_lens=";
  const GpuWorkload longest(shape + "900,900");
  const cuda::Stream stream;
  GpuPlan plan(longest, stream.handle());
  ASSERT_EQ(plan.status(), RAPT_OK) << rapt_error_message();
  stream.synchronize();
  rapt_status status = RAPT_INTERNAL;
  const cuda::Graph graph(stream, [&] { status = plan.run(longest); });
  ASSERT_EQ(status, RAPT_OK) << rapt_error_message();
  const auto copy = [](const rapt_tensor& to, const rapt_tensor& from) {
    cuda::copy_within(to.data, from.data, bytes_of(from));
  };
  for (const char* lengths : {"900,900", "17,333", "0,64"}) {
    GpuWorkload step(shape + lengths);
    copy_inputs(longest, step);
    copy(longest.attention().lengths->kv_len, step.attention().lengths->kv_len);
    cuda::synchronize();
    ASSERT_EQ(plan.upload(step), RAPT_OK) << rapt_error_message();
    graph.launch(stream);
    stream.synchronize();
    copy(step.attention().out, longest.attention().out);
    copy(step.attention().lse, longest.attention().lse);
    step.download();
    EXPECT_EQ(check(step).sentence, "") << lengths;
  }
}

}  // namespace
}  // namespace rapt::kit
