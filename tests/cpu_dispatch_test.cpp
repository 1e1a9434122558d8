// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which kernel runs: what cpuid's words allow, what RAPT_ISA and RAPT_THREADS say, and every
// sentence that refuses. Machines that this one is not are played by their words.
#include "backend/cpu/dispatch.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/backend.h"
#include "backend/cpu/parallel.h"
#include "work_list.h"

namespace rapt::cpu {
namespace {

Problem problem_of(DType dtype) {
  Problem problem;
  problem.dtype = dtype;
  return problem;
}

std::string refusal_of(const char* kernel, const char* isa, const CpuWords& words,
                       const Problem& problem = problem_of(DType::fp32)) {
  const Environment environment = parse_environment(isa, nullptr, words);
  for (const KernelRow& row : kernel_table()) {
    if (std::string_view(row.forward) != kernel) continue;
    return refusal(row, problem, environment, words).sentence();
  }
  return "no such kernel";
}

#if defined(__x86_64__)

// A machine with everything that the table needs.
constexpr CpuWords kWhole = {1U << 12 | 1U << 27 | 1U << 29,
                             1U << 5 | 1U << 16 | 1U << 17 | 1U << 30 | 1U << 31, 1U << 5, 0xE7};

CpuWords without(CpuWord word, std::uint64_t bits) {
  CpuWords words = kWhole;
  words[word] &= ~bits;
  return words;
}

// The first kernel that takes an FP32 problem on a machine of these words.
std::string best(const CpuWords& words, const char* isa = nullptr) {
  for (const KernelRow& row : kernel_table()) {
    if (refusal_of(row.forward, isa, words).empty()) return row.forward;
  }
  return "";
}

TEST(CpuDispatch, TakesTheBestInstructionSetOfTheMachine) {
  EXPECT_EQ(best(kWhole), "cpu/avx512_bf16_forward");
  EXPECT_EQ(best(without(leaf7_1_eax, ~0ULL)), "cpu/avx512_forward");
  EXPECT_EQ(best(without(leaf7_ebx, 1U << 16)), "cpu/avx2_forward");
  EXPECT_EQ(best(without(leaf7_ebx, ~0ULL)), "cpu/baseline_forward");
  EXPECT_EQ(best({}), "cpu/baseline_forward");
}

TEST(CpuDispatch, EveryFeatureIsNeeded) {
  for (const unsigned bit : {12U, 27U, 29U}) {
    EXPECT_EQ(best(without(leaf1_ecx, 1ULL << bit)), "cpu/baseline_forward") << bit;
  }
  for (const unsigned bit : {16U, 17U, 30U, 31U}) {
    EXPECT_EQ(best(without(leaf7_ebx, 1ULL << bit)), "cpu/avx2_forward") << bit;
  }
}

// A CPU may have AVX-512 under an operating system that does not save its registers.
TEST(CpuDispatch, TheOperatingSystemMustSaveTheRegisters) {
  for (const std::uint64_t state : {0x20U, 0x40U, 0x80U}) {
    EXPECT_EQ(best(without(xcr0, state)), "cpu/avx2_forward");
  }
  EXPECT_EQ(best(without(xcr0, 0x4)), "cpu/baseline_forward");
  EXPECT_EQ(refusal_of("cpu/avx512_forward", nullptr, without(xcr0, 0xE0)),
            "device: this machine lacks AVX-512 state in the operating system");
}

TEST(CpuDispatch, AMissingFeatureIsNamed) {
  EXPECT_EQ(refusal_of("cpu/avx512_bf16_forward", nullptr, without(leaf7_1_eax, ~0ULL)),
            "device: this machine lacks AVX512_BF16");
  EXPECT_EQ(refusal_of("cpu/avx2_forward", nullptr, without(leaf1_ecx, 1U << 12)),
            "device: this machine lacks FMA");
}

TEST(CpuDispatch, RaptIsaForcesOneKernel) {
  for (const KernelRow& row : kernel_table()) EXPECT_EQ(best(kWhole, row.isa), row.forward);
  EXPECT_EQ(refusal_of("cpu/avx512_forward", "avx2", kWhole),
            "RAPT_ISA: is avx2, this kernel is of avx512");
}

TEST(CpuDispatch, RaptIsaThatTheMachineLacksRefusesEveryKernel) {
  const CpuWords words = without(leaf7_ebx, 1U << 30);
  for (const KernelRow& row : kernel_table()) {
    EXPECT_EQ(refusal_of(row.forward, "avx512", words),
              "RAPT_ISA: is avx512, this machine lacks AVX512BW");
  }
}

TEST(CpuDispatch, RaptIsaOfNoBuildRefusesEveryKernel) {
  for (const char* name : {"neon", "AVX2", "avx2 ", "sse9"}) {
    for (const KernelRow& row : kernel_table()) {
      EXPECT_EQ(refusal_of(row.forward, name, kWhole),
                "RAPT_ISA: is \"" + std::string(name) +
                    "\", this build has avx512_bf16, avx512, avx2, baseline");
    }
  }
}

TEST(CpuDispatch, ThisMachineAgreesWithTheCompilersRunTime) {
  EXPECT_EQ(missing_feature("avx2", this_cpu()) == nullptr,
            __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
  EXPECT_EQ(missing_feature("avx512", this_cpu()) == nullptr,
            __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"));
}

#endif

TEST(CpuDispatch, FloatTypesOf8BitAreRefused) {
  const char* kernel = kernel_table().back().forward;
  EXPECT_EQ(refusal_of(kernel, nullptr, this_cpu(), problem_of(DType::fp8_e4m3)),
            "q: dtype is fp8_e4m3, a CPU kernel takes fp32, fp16 or bf16");
  EXPECT_EQ(refusal_of(kernel, nullptr, this_cpu(), problem_of(DType::fp8_e5m2)),
            "q: dtype is fp8_e5m2, a CPU kernel takes fp32, fp16 or bf16");
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
    EXPECT_EQ(refusal_of(kernel, nullptr, this_cpu(), problem_of(dtype)), "");
  }
}

TEST(CpuDispatch, TensorsOfAnotherDeviceAreRefused) {
  Problem problem = problem_of(DType::fp32);
  problem.device_kind = DeviceKind::cuda;
  EXPECT_EQ(refusal_of(kernel_table().back().forward, nullptr, this_cpu(), problem),
            "q: lives on another device, a CPU kernel reads the host's memory");
}

TEST(CpuDispatch, RaptThreadsIsAWholeNumberOrRefused) {
  EXPECT_EQ(parse_environment(nullptr, nullptr, {}).threads, 0);
  EXPECT_EQ(parse_environment("", "", {}).threads, 0);
  EXPECT_EQ(parse_environment(nullptr, "1", {}).threads, 1);
  EXPECT_EQ(parse_environment(nullptr, "512", {}).threads, 512);
  for (const char* text : {"0", "-1", "513", "99999999999999999999", "two", "2x", " 2", "1.5"}) {
    const Status status = parse_environment(nullptr, text, {}).status;
    EXPECT_EQ(status.code(), RAPT_INVALID_ARGUMENT);
    EXPECT_EQ(status.sentence(),
              "RAPT_THREADS: is \"" + std::string(text) + "\", wants a whole number from 1 to 512");
  }
}

TEST(CpuBackend, IsInTheRegistry) {
  EXPECT_EQ(backends().back(), &backend()) << "behind every accelerator";
  EXPECT_STREQ(backend().name(), "cpu");
}

TEST(CpuBackend, DescribesItsDevice) {
  std::vector<rapt_device_info> devices;
  backend().devices(devices);
  ASSERT_EQ(devices.size(), 1U);
  EXPECT_EQ(devices[0].struct_size, sizeof(rapt_device_info));
  EXPECT_STREQ(devices[0].backend, "cpu");
  EXPECT_EQ(devices[0].available, environment().status.ok() ? 1 : 0);
  EXPECT_NE(devices[0].name[0], '\0');
  EXPECT_NE(std::strstr(devices[0].detail, kernel_table().back().isa), nullptr);
  EXPECT_GT(devices[0].memory_bytes, 0);
  EXPECT_EQ(devices[0].workers, worker_count({}));
}

TEST(CpuBackend, KernelsAreTheTableInOrder) {
  ASSERT_EQ(backend().kernel_count(), kernel_table().size());
  for (KernelIndex i = 0; i < kernel_table().size(); ++i) {
    EXPECT_STREQ(backend().kernel_name(i), kernel_table()[i].forward);
  }
}

}  // namespace
}  // namespace rapt::cpu
