// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a warm call costs the host beyond the driver's launch, which the same run measures: at most
// 5 us. The problem is small, so that the device keeps up. ./test --gpu runs it alone.
#include <cstdio>

#include "allocations.h"
#include "gpu.h"
#include "host_time.h"

namespace rapt::kit {
namespace {

using GpuWarm = OnGpu<testing::Test>;

constexpr double kMostMicroseconds = 5.0;

// A launch of a kernel that does nothing.
double launch_microseconds(const cuda::Stream& stream) {
  static const char* const kText =
      ".version 7.0\n.target sm_70\n.address_size 64\n.visible .entry nothing() { ret; }\n";
  const cuda::Kernel nothing(kText, "nothing");
  return test::host_microseconds([&] { nothing.launch(stream, 1, 32, nullptr); },
                                 [&] { stream.synchronize(); });
}

template <typename Call>
void expect_cheap(const char* what, double launch, const cuda::Stream& stream, Call call) {
  for (int turn = 0; turn < 2; ++turn) ASSERT_EQ(call(), RAPT_OK) << rapt_error_message();
  const std::int64_t before = allocations();
  ASSERT_EQ(call(), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(allocations(), before) << what;
  const double took = test::host_microseconds(call, [&] { stream.synchronize(); });
  std::printf("%s: %.2f us on the host, the driver's launch %.2f\n", what, took, launch);
  EXPECT_LE(took - launch, kMostMicroseconds) << what;
}

TEST_F(GpuWarm, AttendAndRunCostTheHostLittle) {
  const cuda::Stream stream;
  const rapt_options options = on_cuda(stream.handle());
  const GpuWorkload workload("dtype=bf16 q_len=64 kv_len=64 q_heads=4 kv_heads=4 head_dim=64");
  const GpuPlan plan(workload, stream.handle());
  ASSERT_EQ(plan.status(), RAPT_OK) << rapt_error_message();
  const double launch = launch_microseconds(stream);
  expect_cheap("attend", launch, stream,
               [&] { return rapt_attend(&workload.attention(), &options); });
  expect_cheap("run", launch, stream, [&] { return plan.run(workload); });
}

}  // namespace
}  // namespace rapt::kit
