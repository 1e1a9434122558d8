// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a warm call costs the host, the driver's launch included: attend at most 8 us, run at most
// 5. The problem is small, so that the device keeps up.
#include <cstdio>

#include "allocations.h"
#include "gpu.h"
#include "host_time.h"

namespace rapt::kit {
namespace {

using GpuWarm = OnGpu<testing::Test>;

template <typename Call>
void expect_cheap(const char* what, double most, const cuda::Stream& stream, Call call) {
  for (int turn = 0; turn < 2; ++turn) ASSERT_EQ(call(), RAPT_OK) << rapt_error_message();
  const std::int64_t before = allocations();
  ASSERT_EQ(call(), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(allocations(), before) << what;
  const double took = test::host_microseconds(call, [&] { stream.synchronize(); });
  std::printf("%s: %.2f us on the host\n", what, took);
  EXPECT_LE(took, most) << what;
}

TEST_F(GpuWarm, AttendAndRunCostTheHostLittle) {
  const cuda::Stream stream;
  const rapt_options options = on_cuda(stream.handle());
  const GpuWorkload workload("dtype=bf16 q_len=64 kv_len=64 q_heads=4 kv_heads=4 head_dim=64");
  const GpuPlan plan(workload, stream.handle());
  ASSERT_EQ(plan.status(), RAPT_OK) << rapt_error_message();
  expect_cheap("attend", 8.0, stream, [&] { return rapt_attend(&workload.attention(), &options); });
  expect_cheap("run", 5.0, stream, [&] { return plan.run(workload); });
}

}  // namespace
}  // namespace rapt::kit
