// SPDX-License-Identifier: Apache-2.0 OR MIT
// The probes of peak.h, in assembly: every running sum has its register by name, so no compiler can
// spill one, and no file of this program needs flags for an instruction set.
#include "bench/peak.h"

namespace rapt::bench {
namespace {

constexpr float kFactor = 1.0F;  // read as (0, 1) by the BF16 unit; never denormal, never infinite

#if defined(__x86_64__)

// Without fused multiply-add: half the instructions multiply, half add.
void baseline_fp32(std::int64_t turns) {
  asm volatile(
      "movss %[factor], %%xmm15\n"
      "shufps $0, %%xmm15, %%xmm15\n"
      ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11\n"
      "movaps %%xmm15, %%xmm\\sum\n"
      ".endr\n"
      "1:\n"
      ".irp sum, 0,1,2,3,4,5\n"
      "mulps %%xmm15, %%xmm\\sum\n"
      ".endr\n"
      ".irp sum, 6,7,8,9,10,11\n"
      "addps %%xmm15, %%xmm\\sum\n"
      ".endr\n"
      "dec %[turns]\n"
      "jnz 1b\n"
      : [turns] "+r"(turns)
      : [factor] "m"(kFactor)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm15");
}

void avx2_fp32(std::int64_t turns) {
  asm volatile(
      "vbroadcastss %[factor], %%ymm15\n"
      ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vmovaps %%ymm15, %%ymm\\sum\n"
      ".endr\n"
      "1:\n"
      ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vfmadd231ps %%ymm15, %%ymm15, %%ymm\\sum\n"
      ".endr\n"
      "dec %[turns]\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : [turns] "+r"(turns)
      : [factor] "m"(kFactor)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

void avx512_fp32(std::int64_t turns) {
  asm volatile(
      "vbroadcastss %[factor], %%zmm15\n"
      ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vmovaps %%zmm15, %%zmm\\sum\n"
      ".endr\n"
      "1:\n"
      ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vfmadd231ps %%zmm15, %%zmm15, %%zmm\\sum\n"
      ".endr\n"
      "dec %[turns]\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : [turns] "+r"(turns)
      : [factor] "m"(kFactor)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

void avx512_bf16(std::int64_t turns) {
  asm volatile(
      "vbroadcastss %[factor], %%zmm15\n"
      ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vmovaps %%zmm15, %%zmm\\sum\n"
      ".endr\n"
      "1:\n"
      ".irp sum, 0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vdpbf16ps %%zmm15, %%zmm15, %%zmm\\sum\n"
      ".endr\n"
      "dec %[turns]\n"
      "jnz 1b\n"
      "vzeroupper\n"
      : [turns] "+r"(turns)
      : [factor] "m"(kFactor)
      : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

bool always() { return true; }

bool has_avx2() {
  return (__builtin_cpu_supports("avx2") != 0) && (__builtin_cpu_supports("fma") != 0);
}

bool has_avx512() { return __builtin_cpu_supports("avx512f") != 0; }

bool has_avx512_bf16() { return __builtin_cpu_supports("avx512bf16") != 0; }

// 12 registers of so many lanes, two operations a lane (one where multiply and add are apart).
constexpr PeakProbe kProbes[] = {
    {"baseline", RAPT_FP32, 12 * 4, always, baseline_fp32},
    {"avx2", RAPT_FP32, 12 * 8 * 2, has_avx2, avx2_fp32},
    {"avx512", RAPT_FP32, 12 * 16 * 2, has_avx512, avx512_fp32},
    {"avx512_bf16", RAPT_FP32, 12 * 16 * 2, has_avx512_bf16, avx512_fp32},
    {"avx512_bf16", RAPT_BF16, 12 * 32 * 2, has_avx512_bf16, avx512_bf16},
};

#elif defined(__aarch64__)

void neon_fp32(std::int64_t turns) {
  asm volatile(
      "dup v31.4s, %w[factor]\n"
      ".irp sum, 0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23\n"
      "mov v\\sum\\().16b, v31.16b\n"
      ".endr\n"
      "1:\n"
      ".irp sum, 0,1,2,3,4,5,6,7,16,17,18,19,20,21,22,23\n"
      "fmla v\\sum\\().4s, v31.4s, v31.4s\n"
      ".endr\n"
      "subs %[turns], %[turns], #1\n"
      "b.ne 1b\n"
      : [turns] "+r"(turns)
      : [factor] "r"(__builtin_bit_cast(std::int32_t, kFactor))
      : "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v16", "v17", "v18", "v19", "v20",
        "v21", "v22", "v23", "v31");
}

bool always() { return true; }

// The names of kernels call the architecture's baseline either way.
constexpr PeakProbe kProbes[] = {
    {"baseline", RAPT_FP32, 16 * 4 * 2, always, neon_fp32},
    {"neon", RAPT_FP32, 16 * 4 * 2, always, neon_fp32},
};

#else
#error "bench/peak.cpp: this architecture has no probe yet; write its multiply-add loop here"
#endif

}  // namespace

std::span<const PeakProbe> peak_probes() { return kProbes; }

}  // namespace rapt::bench
