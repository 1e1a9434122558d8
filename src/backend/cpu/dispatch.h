// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CPU's kernel table, one row an instruction set, and what decides between the rows: the
// instructions of this machine and the environment. Both are read once a process.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "backend/cpu/kernel.h"
#include "problem.h"
#include "refusal.h"
#include "status.h"

namespace rapt::cpu {

// What cpuid and xgetbv answer; zeros where there is no such instruction.
enum CpuWord : std::size_t { leaf1_ecx, leaf7_ebx, leaf7_1_eax, xcr0, kCpuWords };
using CpuWords = std::array<std::uint64_t, kCpuWords>;

struct KernelRow {
  const char* forward;   // "cpu/avx2_forward"
  const char* backward;  // "cpu/avx2_backward"
  const char* isa;       // "avx2", as RAPT_ISA spells it
  const Kernels& (*kernels)();
};

// RAPT_ISA and RAPT_THREADS, as they stand at the process's first call.
struct Environment {
  std::string isa;           // "" = not forced
  std::int32_t threads = 0;  // 0 = not given
  Status status;             // not ok: what is wrong with them, and every verb's answer
};

// Best first.
std::span<const KernelRow> kernel_table();

const CpuWords& this_cpu();
const Environment& environment();

// The pure functions behind them. What an instruction set needs and the words lack, "AVX2"; null =
// nothing.
const char* missing_feature(std::string_view isa, const CpuWords& words);
// Null texts = not set.
Environment parse_environment(const char* isa, const char* threads, const CpuWords& words);
// The environment lives as long as the sentence is read.
Refusal refusal(const KernelRow& row, const Problem& problem, const Environment& environment,
                const CpuWords& words);
Refusal gradient_refusal(const KernelRow& row, const Gradient& gradient,
                         const Environment& environment, const CpuWords& words);

}  // namespace rapt::cpu
