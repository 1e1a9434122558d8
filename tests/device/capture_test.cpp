// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every verb on a stream that is being captured: refused with a sentence while its kernel is not in
// memory, since nothing may be compiled or loaded then; taken once it is.
#include <string>

#include "libcuda.h"
#include "on_stand_in.h"
#include "tensors.h"

namespace rapt::kit {
namespace {

template <typename Verb>
void expect_refused(const std::string& kernel, Verb verb) {
  const rapt_options options = on_cuda(stand_in_capturing_stream());
  const StandInCounts before = stand_in_counts();
  EXPECT_EQ(verb(options), RAPT_UNSUPPORTED) << kernel;
  EXPECT_EQ(rapt_error_message(), "options.stream: a graph is being captured and " + kernel +
                                      " is not in memory; make the call once before the capture");
  EXPECT_EQ(stand_in_counts().loads, before.loads) << kernel;
  EXPECT_EQ(stand_in_counts().launches, before.launches) << kernel;
}

// Cold and captured, then once on a stream of its own, then captured.
template <typename Verb>
void expect_capturable_when_warm(const std::string& kernel, Verb verb) {
  expect_refused(kernel, verb);
  ASSERT_EQ(verb(on_cuda()), RAPT_OK) << rapt_error_message();
  const StandInCounts before = stand_in_counts();
  EXPECT_EQ(verb(on_cuda(stand_in_capturing_stream())), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(stand_in_counts().loads, before.loads) << kernel;
  EXPECT_GT(stand_in_counts().launches, before.launches) << kernel;
  EXPECT_EQ(stand_in_counts().copies, before.copies) << kernel;
  EXPECT_EQ(stand_in_counts().waits, before.waits) << kernel;
}

TEST(Capture, Attend) {
  const OnStandIn problem("dtype=bf16 q_len=77 kv_len=300 q_heads=2 head_dim=96");
  expect_capturable_when_warm(Plan(problem).kernel(), [&](const rapt_options& options) {
    return rapt_attend(&problem.attention(), &options);
  });
}

TEST(Capture, AnUploadMakesARunCapturable) {
  const OnStandIn problem("dtype=bf16 q_len=77 kv_len=300 q_heads=2 head_dim=192");
  const Plan plan(problem, on_cuda());
  EXPECT_EQ(plan.run(problem, on_cuda(stand_in_capturing_stream())), RAPT_OK)
      << rapt_error_message();
}

TEST(Capture, UploadAndPrepare) {
  const OnStandIn problem("q_len=77 kv_len=300 q_heads=2 head_dim=192");
  Plan plan(problem);
  expect_refused(plan.kernel(), [&](const rapt_options& options) {
    return rapt_prepare(&problem.attention(), &options);
  });
  expect_refused(plan.kernel(), [&](const rapt_options& o) { return plan.upload(problem, o); });
  ASSERT_EQ(plan.upload(problem, on_cuda()), RAPT_OK) << rapt_error_message();
  const rapt_options captured = on_cuda(stand_in_capturing_stream());
  EXPECT_EQ(plan.upload(problem, captured), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(rapt_prepare(&problem.attention(), &captured), RAPT_OK) << rapt_error_message();
}

TEST(Capture, Append) {
  Tensors tensors;
  const rapt_append_args args = append_args(tensors);
  expect_capturable_when_warm(
      "cuda/append", [&](const rapt_options& options) { return rapt_append(&args, &options); });
}

TEST(Capture, PagesWithinADevice) {
  Tensors tensors;
  const rapt_tensor cache = tensors.make(RAPT_BF16, {4, 16, 2, 64});
  const rapt_tensor other = tensors.make(RAPT_BF16, {4, 16, 2, 64});
  const rapt_tensor pairs = tensors.make(RAPT_INT64, {2, 2});
  const rapt_tensor pages = tensors.make(RAPT_INT64, {2});
  expect_capturable_when_warm("cuda/move_pages", [&](const rapt_options& options) {
    return rapt_copy_pages(&cache, &pairs, &options);
  });
  expect_capturable_when_warm("cuda/move_pages", [&](const rapt_options& options) {
    return rapt_clear_pages(&cache, &pages, &options);
  });
  const rapt_options captured = on_cuda(stand_in_capturing_stream());
  EXPECT_EQ(rapt_swap_pages(&cache, &other, &pairs, &captured), RAPT_OK) << rapt_error_message();
}

TEST(Capture, Merge) {
  Tensors tensors;
  const MergeOfTwo merge(tensors);
  expect_capturable_when_warm(
      "cuda/merge", [&](const rapt_options& options) { return rapt_merge(&merge.args, &options); });
}

}  // namespace
}  // namespace rapt::kit
