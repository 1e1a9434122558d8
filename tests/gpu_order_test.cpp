// SPDX-License-Identifier: Apache-2.0 OR MIT
// More keys than a cache holds, so that tiles go in groups: one sequence many times over, whose
// first answer the oracle judges and whose others have the same bits.
#include <string>

#include "gpu.h"
#include "kit/device_problem.h"

namespace rapt::kit {
namespace {

constexpr std::int64_t kTimes = 300;
constexpr unsigned char kNan = 0xff;

// A packed tensor of batch 1, so many times.
class Repeated {
 public:
  explicit Repeated(const rapt_tensor& one)
      : row_(static_cast<std::size_t>(one.strides[0]) * rapt_dtype_bytes(one.dtype)),
        one_(one),
        view_(one),
        memory_(memory_at(Place::cuda), row_ * kTimes) {
    view_.shape[0] = kTimes;
    view_.data = memory_.data();
  }

  void put() {
    for (std::int64_t n = 0; n < kTimes; ++n) cuda::copy_within(at(n), one_.data, row_);
  }
  void poison() { cuda::fill(memory_.data(), kNan, row_ * kTimes); }
  void get(std::int64_t n) { cuda::copy_within(one_.data, at(n), row_); }
  [[nodiscard]] const rapt_tensor& view() const { return view_; }

 private:
  std::byte* at(std::int64_t n) {
    return static_cast<std::byte*>(memory_.data()) + row_ * static_cast<std::size_t>(n);
  }

  std::size_t row_;
  rapt_tensor one_, view_;
  DeviceBuffer memory_;
};

class GpuOrder : public OnGpu<testing::TestWithParam<const char*>> {};

TEST_P(GpuOrder, EverySequenceHasTheSameBits) {
  GpuWorkload one("dtype=bf16 q_heads=1 q_len=700 kv_len=700 " + std::string(GetParam()));
  ProblemCopy problem(one.attention());
  const rapt_attention& from = one.attention();
  Repeated q(from.q), k(from.k), v(from.v), out(from.out), lse(from.lse);
  for (Repeated* input : {&q, &k, &v}) input->put();
  for (Repeated* output : {&out, &lse}) output->poison();
  const Repeated* all[] = {&q, &k, &v, &out, &lse};  // in the order of tensors()
  for (std::size_t i = 0; i < std::size(all); ++i) *problem.tensors()[i] = all[i]->view();
  const rapt_options options = on_cuda();
  ASSERT_EQ(rapt_attend(&problem.attention(), &options), RAPT_OK) << rapt_error_message();
  std::string first;
  for (std::int64_t n = 0; n < kTimes; ++n) {
    out.get(n);
    lse.get(n);
    const std::string bits = answer(one);
    if (n == 0) {
      first = bits;
      EXPECT_EQ(check(one).sentence, "");
    }
    ASSERT_EQ(bits, first) << n;
  }
}

INSTANTIATE_TEST_SUITE_P(Gpu, GpuOrder,
                         testing::Values("head_dim=64 mask=causal", "head_dim=64",
                                         "head_dim=128 mask=causal", "head_dim=128"));

}  // namespace
}  // namespace rapt::kit
