// SPDX-License-Identifier: Apache-2.0 OR MIT
// Warm calls from the front door to the driver: what they must not do is counted, how long they
// take on the host is printed.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "allocations.h"
#include "host_time.h"
#include "kit/cases.h"
#include "libcuda.h"
#include "on_stand_in.h"
#include "rapt/rapt.h"
#include "tensors.h"
#include "watch.h"

namespace rapt::kit {
namespace {

// Everything that a warm call is to leave alone; launches are its business.
struct Watched {
  std::int64_t allocations = rapt::allocations();
  std::int64_t environment_reads = test::environment_reads();
  std::int64_t locks = test::locks();
  StandInCounts driver = stand_in_counts();
};

// Runs `call` cold once, so that kernels are compiled and loaded, then warm.
template <typename Call>
void expect_warm(const char* what, std::int64_t launches, std::int64_t memory, Call call) {
  for (int turn = 0; turn < 2; ++turn) ASSERT_EQ(call(), RAPT_OK) << rapt_error_message();
  const Watched before;
  ASSERT_EQ(call(), RAPT_OK) << rapt_error_message();
  const Watched after;
  EXPECT_EQ(after.allocations, before.allocations) << what;
  EXPECT_EQ(after.environment_reads, before.environment_reads) << what;
  EXPECT_EQ(after.locks, before.locks) << what;
  EXPECT_EQ(after.driver.launches - before.driver.launches, launches) << what;
  EXPECT_EQ(after.driver.loads, before.driver.loads) << what;
  EXPECT_EQ(after.driver.attributes, before.driver.attributes) << what;
  EXPECT_EQ(after.driver.memory - before.driver.memory, memory) << what;
  EXPECT_EQ(after.driver.copies, before.driver.copies) << what;
  EXPECT_EQ(after.driver.waits, before.driver.waits) << what;
}

template <typename Call>
void print_time(const char* what, Call call) {
  std::printf("%s: %.2f us on the host\n", what, test::host_microseconds(call, [] {}));
}

struct Shape {
  const char* text;
  std::int64_t launches;
};

// One pass, splits with their combine, pages, and a problem that the first kernel refuses. An
// attend that splits keys takes its workspace of the device's pool and gives it back.
const Shape kShapes[] = {
    {"dtype=bf16 q_len=2048 kv_len=2048 q_heads=16 kv_heads=4 head_dim=128 mask=causal", 1},
    {"dtype=fp16 batch=2 q_len=1 kv_len=4000 q_heads=8 kv_heads=2", 2},
    {"dtype=bf16 q=ragged page_size=16 q_lens=3,70,1 kv_lens=90,70,1 sinks=1 softcap=20", 1},
    {"dtype=fp32 q_len=700 kv_len=700 q_heads=16 alibi=head", 1},
};

TEST(WarmLaunch, TheWatchSeesWhatItCounts) {
  const Watched before;
  std::mutex mutex;
  {
    const std::scoped_lock lock(mutex);
  }
  const std::vector<int> memory(1000);
  EXPECT_NE(std::getenv("PATH"), nullptr) << memory.size();
  const Watched after;
  EXPECT_EQ(after.allocations - before.allocations, 1);
  EXPECT_EQ(after.environment_reads - before.environment_reads, 1);
  EXPECT_EQ(after.locks - before.locks, 1);
}

TEST(WarmLaunch, AttendAllocatesNothingAndAsksNobody) {
  const rapt_options options = on_cuda();
  for (const Shape& shape : kShapes) {
    const OnStandIn problem(shape.text);
    const auto call = [&] { return rapt_attend(&problem.attention(), &options); };
    expect_warm(shape.text, shape.launches, shape.launches > 1 ? 2 : 0, call);
    print_time(shape.text, call);
  }
}

TEST(WarmLaunch, ARunOnlyLaunches) {
  const rapt_options options = on_cuda();
  for (const Shape& shape : kShapes) {
    const OnStandIn problem(shape.text);
    const Plan plan(problem, options);
    const auto call = [&] { return plan.run(problem, options); };
    expect_warm(shape.text, shape.launches, 0, call);
    print_time(shape.text, call);
  }
}

TEST(WarmLaunch, AnUploadLoadsWhatARunWants) {
  const rapt_options options = on_cuda();
  const OnStandIn problem("dtype=bf16 q_len=1 kv_len=4000 q_heads=8 kv_heads=2 head_dim=256");
  const Plan plan(problem, options);
  const StandInCounts before = stand_in_counts();
  ASSERT_EQ(plan.run(problem, options), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(stand_in_counts().loads, before.loads);
  EXPECT_EQ(stand_in_counts().launches - before.launches, 2);
}

TEST(WarmLaunch, AppendAndPageMovesToo) {
  Tensors tensors;
  const rapt_options options = on_cuda();
  const rapt_append_args args = append_args(tensors);
  const rapt_tensor pairs = tensors.make(RAPT_INT64, {2, 2});
  const rapt_tensor pages = tensors.make(RAPT_INT64, {2});
  expect_warm("append", 1, 0, [&] { return rapt_append(&args, &options); });
  print_time("append", [&] { return rapt_append(&args, &options); });
  expect_warm("copy_pages", 1, 0, [&] { return rapt_copy_pages(&args.k_cache, &pairs, &options); });
  expect_warm("clear_pages", 1, 0,
              [&] { return rapt_clear_pages(&args.k_cache, &pages, &options); });
}

}  // namespace
}  // namespace rapt::kit
