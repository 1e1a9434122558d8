// SPDX-License-Identifier: Apache-2.0 OR MIT
// PTX ISA 9.0, 9.7.16.5: wgmma.mma_async.
#include "backend/cuda/wgmma_text.h"

namespace rapt::cuda {
namespace {

// One form of the instruction: where its first operand is, and what is transposed.
struct Form {
  const char* name;
  const char* parameter;
  const char* constraint;  // of the first operand, from element 0 on
  int words;               // operands that the first one is
  const char* immediates;  // scale-a, scale-b and which operands stand by columns
};

constexpr Form kShared = {"shared", "u64 a", "\"l\"(a)", 1, "1, 1, 0, 0"};
constexpr Form kRegisters = {"registers", "const u32 (&a)[4]",
                             "\"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3])", 4, "1, 1, 1"};

// "%0, %1, %2", from operand `first` on.
std::string operands(int first, int count) {
  std::string list;
  for (int i = first; i < first + count; ++i) {
    list += (i == first ? "%" : ", %") + std::to_string(i);
  }
  return list;
}

// Of every four, two columns of the upper row and the same two of the lower.
std::string accumulators(int count) {
  std::string list;
  for (int i = 0; i < count; ++i) {
    const std::string row = std::to_string(i / 2 % 2), column = std::to_string(i / 4 * 2 + i % 2);
    list += (i == 0 ? "\"+f\"(d[" : ", \"+f\"(d[") + row + "][" + column + "])";
  }
  return list;
}

std::string function(const Form& form, const std::string& type, int n) {
  const int sums = n / 2, b = sums + form.words;
  const std::string first = operands(sums, form.words);
  std::string text = "  static __device__ __forceinline__ void ";
  text += std::string(form.name) + "(float (&d)[2][" + std::to_string(n / 4) + "], " +
          form.parameter + ", u64 b, int adds) {\n";
  text += "    asm volatile(\"{.reg .pred p; setp.ne.b32 p, " + operands(b + 1, 1) + ", 0; \"\n";
  text += "        \"wgmma.mma_async.sync.aligned.m64n" + std::to_string(n) + "k16.f32." + type +
          "." + type + " \"\n";
  text += "        \"{" + operands(0, sums) + "}, \"\n";
  text += "        \"" + (form.words == 1 ? first : "{" + first + "}") + ", " + operands(b, 1) +
          ", p, " + form.immediates + ";}\"\n";
  text += "        : " + accumulators(sums) + "\n";
  text += "        : " + std::string(form.constraint) + ", \"l\"(b), \"r\"(adds));\n  }\n";
  return text;
}

}  // namespace

std::string wgmma_text(kernels::Element element, int n) {
  const bool bf16 = element == kernels::Element::bf16;
  const std::string type = bf16 ? "bf16" : "f16";
  std::string text = "template <>\nstruct rapt::kernels::Wgmma<rapt::kernels::Element::";
  text += (bf16 ? "bf16, " : "fp16, ") + std::to_string(n) + "> {\n";
  return text + "  using u32 = rapt::kernels::u32;\n  using u64 = rapt::kernels::u64;\n" +
         function(kShared, type, n) + function(kRegisters, type, n) + "};\n";
}

}  // namespace rapt::cuda
