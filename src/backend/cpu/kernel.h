// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the CPU backend's driver asks of an instruction set: one table of functions each. Plain data
// only, since the files behind it are compiled for wide instruction sets (see problem.h).
#pragma once
#include <cstddef>
#include <cstdint>

#include "problem.h"
#include "work.h"

namespace rapt::cpu {

// Partial results of a split over keys, row-major: row r has value_dim sums at out + r * value_dim,
// and what was subtracted from its scores and the sum of their exponentials, in the kernel's own
// units: only the same kernel's combine reads them.
struct Partials {
  float* out = nullptr;  // [rows, value_dim], unnormalised
  float* max = nullptr;  // [rows], -inf where the row saw no key
  float* sum = nullptr;  // [rows]
};

// Everything that a work item needs beside itself; one for a whole call, read by every thread.
struct ForwardCall {
  const Problem* problem = nullptr;
  const Sequence* sequences = nullptr;  // [batch]
  Partials partials;
};

// What a backward's items add up, in FP32, rows and keys as GradientSchedule counts them.
struct GradientSums {
  float* dq = nullptr;      // [rows, head_dim]
  float* dk = nullptr;      // [keys, head_dim]
  float* dv = nullptr;      // [keys, value_dim]
  float* slopes = nullptr;  // [rows]; null where d_slopes is not wanted
  float* deltas = nullptr;  // [rows], rowsum(dO * O); null where d_sinks is not wanted
};

struct GradientCall {
  const Gradient* gradient = nullptr;
  const Sequence* sequences = nullptr;      // [batch]
  const std::int64_t* first_row = nullptr;  // [batch + 1]
  const std::int64_t* first_key = nullptr;
  GradientSums sums;
};

// One instruction set.
struct Kernels {
  const char* name;                // "avx512_bf16"
  std::int64_t lanes;              // FP32 lanes a vector
  Grain (*grain)(const Problem&);  // how this problem should be divided
  // Bytes of 64-byte aligned scratch that one worker needs for this problem.
  std::size_t (*scratch_bytes)(const Problem&);
  // Computes one item: writes out and lse of its rows, or, where item.partial >= 0, its partial
  // rows. Rows of tokens behind the sequence's q_len get out = 0 and lse = -inf.
  void (*forward)(const ForwardCall&, const WorkItem&, std::byte* scratch);
  // Merges the splits of the item's rows in split order and writes out and lse (sinks join here,
  // not in the parts).
  void (*combine)(const ForwardCall&, const CombineItem&, std::byte* scratch);

  // The backward's own division and scratch.
  Grain (*gradient_grain)(const Problem&);
  std::size_t (*gradient_scratch_bytes)(const Gradient&);
  // Adds one item to the sums, and to d_bias.
  void (*backward)(const GradientCall&, const WorkItem&, std::byte* scratch);
  // From the sums of one kv head of a sequence to dq, dk and dv.
  void (*finish_gradient)(const GradientCall&, std::int64_t sequence, std::int64_t kv_head);
  // d_sinks and d_slopes of one query head.
  void (*finish_head)(const GradientCall&, std::int64_t head);
};

const Kernels& baseline();  // x86-64 (SSE2) or AArch64 (NEON)
#if defined(__x86_64__)
const Kernels& avx2();
const Kernels& avx512();
const Kernels& avx512_bf16();
#endif

}  // namespace rapt::cpu
