// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the CUDA backend says of machines: without a driver, without a compiler, with devices too
// old. All of them are stand-ins, so that every machine runs these.
#include "backend/cuda/backend.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "backend/cuda/kernel_table.h"
#include "scratch.h"
#include "stand_in_driver.h"
#include "work_list.h"

namespace rapt::cuda {
namespace {

const std::string kNoCompiler = "nvrtc: no libnvrtc.so.13 or .12 beside rapt";

// A machine with the devices that a test wants, no compiler, and a cache that may hold kernels.
class CudaBackendTest : public ::testing::Test {
 protected:
  ~CudaBackendTest() override { current_ = nullptr; }

  const Backend& with(const test::Pretended& devices) {
    driver_ = std::make_unique<Driver>(test::pretend(devices));
    cache_ = std::make_unique<CubinCache>(CacheSettings{.directory = scratch_.at("cache")});
    compiler_ = std::make_unique<Compiler>(nothing_, *cache_, driver_->version());
    machine_ = std::make_unique<Machine>(*driver_, *compiler_);
    current_ = machine_.get();
    return backend_;
  }

  void ship_a_kernel() {
    const CubinCache cache({.directory = scratch_.at("cache")});
    Cubin cubin;
    cubin.code.assign(100, std::byte{1});
    EXPECT_EQ(cache.store(cache_key({"cuda/test", "test", "text", 0}, {90, 1}, "13.0.88"), cubin),
              "");
  }

  static std::vector<rapt_device_info> devices(const Backend& backend) {
    std::vector<rapt_device_info> list;
    backend.devices(list);
    return list;
  }

  static std::string refusal(const Backend& backend, const Problem& problem, KernelIndex row = 0) {
    return backend.refuse(row, problem, {}).sentence();
  }

  static KernelIndex named(const Backend& backend, const std::string& name) {
    KernelIndex row = 0;
    while (name != backend.kernel_name(row)) ++row;
    return row;
  }

  static inline const Machine* current_ = nullptr;
  test::Scratch scratch_;
  NvrtcFinder nothing_{{}};
  std::unique_ptr<Driver> driver_;
  std::unique_ptr<CubinCache> cache_;
  std::unique_ptr<Compiler> compiler_;
  std::unique_ptr<Machine> machine_;
  CudaBackend backend_{+[]() -> const Machine& {
    EXPECT_NE(current_, nullptr) << "nothing was to be asked of the machine";
    return current_ == nullptr ? Machine::system() : *current_;
  }};
};

Problem problem_on_cuda(DType dtype = DType::bf16, std::int32_t index = 0) {
  Problem problem;
  problem.dtype = problem.kv_dtype = problem.out_dtype = dtype;
  problem.q_heads = problem.kv_heads = 1;
  problem.head_dim = problem.value_dim = 64;
  problem.device_kind = DeviceKind::cuda;
  problem.device_index = index;
  return problem;
}

TEST_F(CudaBackendTest, AsksNothingOfTheMachineForProblemsElsewhere) {
  Problem problem = problem_on_cuda();
  problem.device_kind = DeviceKind::cpu;
  ASSERT_EQ(backend_.kernel_count(), kernel_table().size());
  for (KernelIndex row = 0; row < backend_.kernel_count(); ++row) {
    EXPECT_EQ(refusal(backend_, problem, row), "q: is on cpu, this kernel runs on cuda")
        << backend_.kernel_name(row);
  }
}

TEST_F(CudaBackendTest, SaysWhyThereIsNoDevice) {
  const Backend& backend = with({.count = 0});
  const std::string sentence = "driver: it lists no device";
  const std::vector<rapt_device_info> list = devices(backend);
  ASSERT_EQ(list.size(), 1U);
  EXPECT_STREQ(list[0].backend, "cuda");
  EXPECT_STREQ(list[0].detail, sentence.c_str());
  EXPECT_EQ(list[0].available, 0);
  EXPECT_EQ(list[0].workers, 0);
  for (KernelIndex row = 0; row < backend.kernel_count(); ++row) {
    EXPECT_EQ(refusal(backend, problem_on_cuda(), row), sentence) << backend.kernel_name(row);
  }
  const Status status = backend.usable("cache", 0);
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(status.sentence(), sentence);
}

TEST_F(CudaBackendTest, SaysThatTheDriverIsTooOld) {
  const std::string sentence = "driver: it speaks CUDA 11.8, 12.0 or newer is wanted";
  const Backend& backend = with({.version = 11080});
  EXPECT_EQ(devices(backend).at(0).detail, sentence);
  EXPECT_EQ(refusal(backend, problem_on_cuda()), sentence);
}

TEST_F(CudaBackendTest, ListsDevicesThatLackACompiler) {
  const Backend& backend = with({});
  const std::vector<rapt_device_info> list = devices(backend);
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[1].index, 1);
  EXPECT_STREQ(list[1].name, "Test GPU");
  EXPECT_EQ(list[1].memory_bytes, 1 << 20);
  EXPECT_EQ(list[1].workers, 132);
  EXPECT_EQ(list[1].available, 0);
  EXPECT_TRUE(std::string(list[1].detail).starts_with("sm_90a; " + kNoCompiler)) << list[1].detail;
  EXPECT_TRUE(refusal(backend, problem_on_cuda()).starts_with(kNoCompiler));
}

TEST_F(CudaBackendTest, NeedsNoCompilerWhereKernelsWereShipped) {
  ship_a_kernel();
  const Backend& backend = with({});
  const rapt_device_info info = devices(backend).at(0);
  EXPECT_EQ(info.available, 1);
  EXPECT_EQ(info.detail,
            "sm_90a, driver of CUDA 13.0, no NVRTC, kernels of " + scratch_.at("cache") + " alone");
}

TEST_F(CudaBackendTest, RefusesOldArchitectures) {
  ship_a_kernel();
  const Backend& turing = with({.major = 7, .minor = 5});
  EXPECT_EQ(devices(turing).at(0).available, 1);
  EXPECT_EQ(refusal(turing, problem_on_cuda(), named(turing, "cuda/portable_forward")),
            "device: is of sm_75, this kernel wants sm_80 or newer");
  const Backend& pascal = with({.major = 6, .minor = 1});
  EXPECT_EQ(devices(pascal).at(0).available, 0);
  EXPECT_STREQ(devices(pascal).at(0).detail,
               "sm_61; device: is of sm_61, kernels want sm_70 or newer");
  EXPECT_EQ(refusal(pascal, problem_on_cuda(), named(pascal, "cuda/portable_fma_forward")),
            "device: is of sm_61, this kernel wants sm_70 or newer");
}

TEST_F(CudaBackendTest, RefusesNewerArchitecturesWhereAKernelIsOfOneAlone) {
  ship_a_kernel();
  const Backend& blackwell = with({.major = 10, .minor = 0});
  EXPECT_EQ(refusal(blackwell, problem_on_cuda(), named(blackwell, "cuda/hopper_forward")),
            "device: is of sm_100a, this kernel is written for sm_90");
  EXPECT_EQ(refusal(blackwell, problem_on_cuda(), named(blackwell, "cuda/portable_forward")), "");
}

TEST_F(CudaBackendTest, RefusesADeviceThatIsNotThere) {
  const Backend& backend = with({});
  for (const std::int32_t index : {-1, 2}) {
    EXPECT_EQ(refusal(backend, problem_on_cuda(DType::bf16, index)),
              "q: is on CUDA device " + std::to_string(index) + ", this machine has 2");
  }
}

TEST_F(CudaBackendTest, RefusesVerbsOnADeviceThatIsNotThere) {
  const Backend& backend = with({});
  EXPECT_EQ(backend.usable("k_cache", 2).sentence(),
            "k_cache: is on CUDA device 2, this machine has 2");
}

TEST_F(CudaBackendTest, RefusesVerbsWithoutACompilerAndOnOldArchitectures) {
  const Status status = with({}).usable("k_cache", 0);
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_TRUE(status.sentence().starts_with(kNoCompiler)) << status.sentence();
  ship_a_kernel();
  EXPECT_EQ(with({.major = 6, .minor = 1}).usable("out[0]", 0).sentence(),
            "device: is of sm_61, kernels want sm_70 or newer");
}

TEST_F(CudaBackendTest, RefusesElementTypes) {
  ship_a_kernel();
  const Backend& backend = with({});
  EXPECT_EQ(refusal(backend, problem_on_cuda(DType::fp32), 0),
            "q: dtype is fp32, this kernel takes fp16 or bf16");
  for (const std::size_t row : {0U, 1U}) {
    EXPECT_TRUE(refusal(backend, problem_on_cuda(DType::fp8_e4m3), row)
                    .starts_with("q: dtype is fp8_e4m3, this kernel takes "));
  }
}

TEST_F(CudaBackendTest, TakesEveryProblemOfItsTypesAndSaysHowItIsDivided) {
  ship_a_kernel();
  const Backend& backend = with({});
  Problem p = problem_on_cuda();
  p.batch = 2;
  p.q_len = p.kv_len = 1000;
  p.q_heads = 8;
  p.kv_heads = 2;
  p.head_dim = p.value_dim = 128;
  p.scale = 1;
  const KernelIndex portable = named(backend, "cuda/portable_forward");
  EXPECT_EQ(refusal(backend, p, portable), "");
  EXPECT_EQ(backend.grain(p, portable).rows, 128);
  p.q_len = 1;
  EXPECT_EQ(backend.grain(p, portable).rows, 16);
  p.q_len = (std::int64_t{1} << 30) + 1;
  EXPECT_TRUE(refusal(backend, p, portable).starts_with("q: q_len is 1073741825 for 4 heads"));
  p.q_len = 1;
  p.kv_len = (std::int64_t{1} << 30) + 1;
  EXPECT_EQ(refusal(backend, p, portable), "k: kv_len is 1073741825, this kernel takes 2^30");
}

}  // namespace
}  // namespace rapt::cuda
