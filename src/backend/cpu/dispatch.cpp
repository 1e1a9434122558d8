// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which instruction sets this machine and its operating system have, and which kernels that leaves.
#include "backend/cpu/dispatch.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "backend/cpu/thread_pool.h"
#include "names.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace rapt::cpu {
namespace {

#if defined(__x86_64__)
constexpr KernelRow kRows[] = {
    {"cpu/avx512_bf16_forward", "cpu/avx512_bf16_backward", "avx512_bf16", avx512_bf16},
    {"cpu/avx512_forward", "cpu/avx512_backward", "avx512", avx512},
    {"cpu/avx2_forward", "cpu/avx2_backward", "avx2", avx2},
    {"cpu/baseline_forward", "cpu/baseline_backward", "baseline", baseline},
};

// A feature is there when every bit of `mask` is set. A row of the table also needs what the rows
// of lower levels need.
struct Need {
  int level;
  CpuWord word;
  std::uint64_t mask;
  const char* feature;
};

// Intel SDM volume 2, CPUID; volume 1, 13.3 (XCR0). AVX state first: without it no AVX bit counts.
constexpr Need kNeeds[] = {
    {1, leaf1_ecx, 1U << 27, "OSXSAVE"},
    {1, xcr0, 0x6, "AVX state in the operating system"},
    {1, leaf1_ecx, 1U << 12, "FMA"},
    {1, leaf1_ecx, 1U << 29, "F16C"},
    {1, leaf7_ebx, 1U << 5, "AVX2"},
    {2, xcr0, 0xE0, "AVX-512 state in the operating system"},
    {2, leaf7_ebx, 1U << 16, "AVX512F"},
    {2, leaf7_ebx, 1U << 17, "AVX512DQ"},
    {2, leaf7_ebx, 1U << 30, "AVX512BW"},
    {2, leaf7_ebx, 1U << 31, "AVX512VL"},
    {3, leaf7_1_eax, 1U << 5, "AVX512_BF16"},
};

int level_of(std::string_view isa) {
  if (isa == "avx2") return 1;
  if (isa == "avx512") return 2;
  return isa == "avx512_bf16" ? 3 : 0;
}

std::uint64_t read_xcr0() {
  std::uint32_t low = 0;
  std::uint32_t high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t{high} << 32 | low;
}

CpuWords read_cpu() {
  CpuWords words{};
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(1, 0, &a, &b, &c, &d) != 0) words[leaf1_ecx] = c;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) words[leaf7_ebx] = b;
  if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) words[leaf7_1_eax] = a;
  const bool has_xgetbv = (words[leaf1_ecx] & 1U << 27) != 0;
  if (has_xgetbv) words[xcr0] = read_xcr0();
  return words;
}
#else
constexpr KernelRow kRows[] = {{"cpu/neon_forward", "cpu/neon_backward", "neon", baseline}};

CpuWords read_cpu() { return {}; }
#endif

bool is_isa(const std::string& name) {
  for (const KernelRow& row : kRows) {
    if (name == row.isa) return true;
  }
  return false;
}

std::string isa_names() {
  std::string names;
  for (const KernelRow& row : kRows) names += (names.empty() ? "" : ", ") + std::string(row.isa);
  return names;
}

bool is_set(const char* text) { return text != nullptr && *text != '\0'; }

Status parse_isa(const char* text, const CpuWords& words, std::string& isa) {
  if (!is_set(text)) return {};
  isa = text;
  if (!is_isa(isa)) return invalid("RAPT_ISA: is \"" + isa + "\", this build has " + isa_names());
  const char* lacks = missing_feature(isa, words);
  if (lacks == nullptr) return {};
  return unsupported("RAPT_ISA: is " + isa + ", this machine lacks " + lacks);
}

Status parse_threads(const char* text, std::int32_t& threads) {
  if (!is_set(text)) return {};
  const char* end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, threads);
  const bool valid =
      error == std::errc{} && rest == end && threads >= 1 && threads <= ThreadPool::kMaxSlots;
  if (valid) return {};
  return invalid("RAPT_THREADS: is \"" + std::string(text) + "\", wants a whole number from 1 to " +
                 std::to_string(ThreadPool::kMaxSlots));
}

}  // namespace

std::span<const KernelRow> kernel_table() { return kRows; }

const CpuWords& this_cpu() {
  static const CpuWords words = read_cpu();
  return words;
}

const Environment& environment() {
  // Never destroyed: static destructors may still call.
  static const Environment& once = *new Environment(
      parse_environment(std::getenv("RAPT_ISA"), std::getenv("RAPT_THREADS"), this_cpu()));
  return once;
}

const char* missing_feature(std::string_view isa, const CpuWords& words) {
#if defined(__x86_64__)
  for (const Need& need : kNeeds) {
    const bool present = (words[need.word] & need.mask) == need.mask;
    if (need.level <= level_of(isa) && !present) return need.feature;
  }
#else
  static_cast<void>(isa), static_cast<void>(words);
#endif
  return nullptr;
}

Environment parse_environment(const char* isa, const char* threads, const CpuWords& words) {
  Environment environment;
  environment.status = parse_isa(isa, words, environment.isa);
  if (Status status = parse_threads(threads, environment.threads); !status.ok()) {
    environment.status = std::move(status);
  }
  return environment;
}

Refusal gradient_refusal(const KernelRow& row, const Gradient& gradient,
                         const Environment& environment, const CpuWords& words) {
  if (gradient.forward.page_size > 0) {
    return Refusal::because(
        "pages: a CPU kernel has no gradient of a paged cache; k and v must be dense or ragged");
  }
  return refusal(row, gradient.forward, environment, words);
}

Refusal refusal(const KernelRow& row, const Problem& problem, const Environment& environment,
                const CpuWords& words) {
  if (!environment.status.ok()) return Refusal::because(environment.status.sentence().c_str());
  if (problem.device_kind != DeviceKind::cpu) {
    return Refusal::because("q: lives on another device, a CPU kernel reads the host's memory");
  }
  const DType dtype = problem.dtype;
  if (dtype != DType::fp32 && dtype != DType::fp16 && dtype != DType::bf16) {
    return Refusal::because("q: dtype is ", name_of(dtype),
                            ", a CPU kernel takes fp32, fp16 or bf16");
  }
  if (!environment.isa.empty() && environment.isa != row.isa) {
    return Refusal::because("RAPT_ISA: is ", environment.isa.c_str(), ", this kernel is of ",
                            row.isa);
  }
  const char* lacks = missing_feature(row.isa, words);
  return lacks == nullptr ? Refusal() : Refusal::because("device: this machine lacks ", lacks);
}

}  // namespace rapt::cpu
