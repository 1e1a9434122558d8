// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tensors of more than 2^31 elements, on the device alone: a small problem's rows lie behind that
// many others, which no query sees or whose answers do not matter, and its answer is judged by the
// oracle. What no query sees is NaN.
#include <vector>

#include "gpu.h"
#include "kit/device_problem.h"

namespace rapt::kit {
namespace {

constexpr std::int64_t kFar = (std::int64_t{1} << 31) + 4096;  // elements in front
constexpr unsigned char kNan = 0xff;

// Tensors of a problem by their place in ProblemCopy::tensors().
enum { kQ, kK, kV, kOut, kLse };

std::int64_t elements(const rapt_tensor& packed) { return packed.shape[0] * packed.strides[0]; }
std::size_t width(const rapt_tensor& t) { return rapt_dtype_bytes(t.dtype); }

// A packed tensor longer along one dimension, so that the small one's rows are its last.
class Longer {
 public:
  Longer(const rapt_tensor& small, int dimension, std::int64_t rows, unsigned char fill)
      : small_(small),
        dimension_(dimension),
        view_(longer(small, dimension, rows)),
        memory_(memory_at(Place::cuda), bytes()) {
    cuda::fill(memory_.data(), fill, bytes());
    view_.data = memory_.data();
  }

  // The small tensor's rows go in, or come out again.
  void put_tail() { copy_tail(true); }
  void get_tail() { copy_tail(false); }
  [[nodiscard]] const rapt_tensor& view() const { return view_; }

 private:
  static rapt_tensor longer(const rapt_tensor& small, int dimension, std::int64_t rows) {
    std::int64_t shape[RAPT_MAX_RANK];
    for (int d = 0; d < small.rank; ++d) shape[d] = small.shape[d];
    shape[dimension] += rows;
    rapt_tensor view = rapt_packed(nullptr, small.dtype, small.rank, shape);
    view.device_kind = RAPT_CUDA;
    return view;
  }

  [[nodiscard]] std::size_t bytes() const {
    return static_cast<std::size_t>(elements(view_)) * width(view_);
  }

  // Everything before the dimension is outer, everything from it on lies together.
  void copy_tail(bool in) {
    std::int64_t outer = 1;
    for (int d = 0; d < dimension_; ++d) outer *= small_.shape[d];
    const std::int64_t small_block = small_.shape[dimension_] * small_.strides[dimension_];
    const std::int64_t block = view_.shape[dimension_] * view_.strides[dimension_];
    for (std::int64_t n = 0; n < outer; ++n) {
      auto* far = static_cast<std::byte*>(view_.data) +
                  static_cast<std::size_t>((n + 1) * block - small_block) * width(view_);
      auto* near = static_cast<std::byte*>(small_.data) +
                   static_cast<std::size_t>(n * small_block) * width(view_);
      const std::size_t size = static_cast<std::size_t>(small_block) * width(view_);
      cuda::copy_within(in ? far : near, in ? near : far, size);
    }
    cuda::synchronize();
  }

  rapt_tensor small_;
  int dimension_;
  rapt_tensor view_;
  DeviceBuffer memory_;
};

void attend_to(const rapt_attention& problem) {
  const rapt_options options = on_cuda();
  ASSERT_EQ(rapt_attend(&problem, &options), RAPT_OK) << rapt_error_message();
  cuda::synchronize();
}

std::string verdict(GpuWorkload& small) {
  small.download();
  return check(small).sentence;
}

class GpuLarge : public OnGpu<testing::TestWithParam<const char*>> {
 protected:
  [[nodiscard]] static std::string text(const std::string& rest) { return GetParam() + rest; }
};

TEST_P(GpuLarge, Keys) {
  GpuWorkload small(text(" q_len=5 kv_len=600 q_heads=16 kv_heads=8 left=300 right=0"));
  ProblemCopy problem(small.attention());
  const std::int64_t rows = kFar / small.attention().k.strides[1];
  Longer k(small.attention().k, 1, rows, kNan), v(small.attention().v, 1, rows, kNan);
  k.put_tail();
  v.put_tail();
  *problem.tensors()[kK] = k.view();
  *problem.tensors()[kV] = v.view();
  attend_to(problem.attention());
  EXPECT_EQ(verdict(small), "");
}

TEST_P(GpuLarge, Queries) {
  GpuWorkload small(text(" q_len=37 kv_len=80 q_heads=8"));
  ProblemCopy problem(small.attention());
  const std::int64_t rows = kFar / small.attention().q.strides[1];
  Longer q(small.attention().q, 1, rows, 0), out(small.attention().out, 1, rows, kNan);
  Longer lse(small.attention().lse, 2, rows, kNan);
  q.put_tail();
  *problem.tensors()[kQ] = q.view();
  *problem.tensors()[kOut] = out.view();
  *problem.tensors()[kLse] = lse.view();
  attend_to(problem.attention());
  out.get_tail();
  lse.get_tail();
  EXPECT_EQ(verdict(small), "");
}

TEST_P(GpuLarge, BatchStrides) {
  GpuWorkload small(text(" batch=2 q_len=9 kv_len=140 q_heads=4 kv_heads=2 mask=causal"));
  ProblemCopy problem(small.attention());
  for (const int which : {kK, kV}) {
    const rapt_tensor t = *problem.tensors()[static_cast<std::size_t>(which)];
    const auto row = static_cast<std::size_t>(t.strides[0]) * width(t);
    const std::size_t stride = static_cast<std::size_t>(kFar) * width(t);
    auto* far = static_cast<std::byte*>(cuda::allocate(stride + row));
    cuda::fill(far, kNan, stride + row);
    cuda::copy_within(far, t.data, row);
    cuda::copy_within(far + stride, static_cast<std::byte*>(t.data) + row, row);
    cuda::synchronize();
    problem.tensors()[static_cast<std::size_t>(which)]->data = far;
    problem.tensors()[static_cast<std::size_t>(which)]->strides[0] = kFar;
  }
  attend_to(problem.attention());
  cuda::release(problem.attention().k.data);
  cuda::release(problem.attention().v.data);
  EXPECT_EQ(verdict(small), "");
}

TEST_P(GpuLarge, Pages) {
  GpuWorkload small(text(" page_size=64 batch=2 kv_lens=500,77 q_len=3 q_heads=8 kv_heads=4"));
  ProblemCopy problem(small.attention());
  const std::int64_t pages = small.attention().k.shape[0];
  const std::int64_t more = kFar / small.attention().k.strides[0];
  Longer k(small.attention().k, 0, more, kNan), v(small.attention().v, 0, more, kNan);
  k.put_tail();
  v.put_tail();
  const rapt_tensor& host = small.host_attention().pages->table;
  std::vector<std::int32_t> table(static_cast<std::size_t>(elements(host)));
  for (std::size_t n = 0; n < table.size(); ++n) {
    const std::int32_t page = static_cast<const std::int32_t*>(host.data)[n];
    const bool used = page >= 0 && page < pages;
    table[n] = used ? static_cast<std::int32_t>(page + more) : page;
  }
  const DeviceBuffer moved(memory_at(Place::cuda), table.size() * sizeof table[0]);
  cuda::copy_in(moved.data(), table.data(), table.size() * sizeof table[0]);
  cuda::synchronize();
  *problem.tensors()[kK] = k.view();
  *problem.tensors()[kV] = v.view();
  for (rapt_tensor* t : problem.tensors()) {
    if (t->data == small.attention().pages->table.data) t->data = moved.data();
  }
  attend_to(problem.attention());
  EXPECT_EQ(verdict(small), "");
}

std::string type_name(const testing::TestParamInfo<const char*>& info) {
  return info.index == 0 ? "bf16" : "fp32";
}
INSTANTIATE_TEST_SUITE_P(Gpu, GpuLarge,
                         testing::Values("dtype=bf16 head_dim=128", "dtype=fp32 head_dim=64"),
                         type_name);

}  // namespace
}  // namespace rapt::kit
