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
};

const Kernels& baseline();  // x86-64 (SSE2) or AArch64 (NEON)
#if defined(__x86_64__)
const Kernels& avx2();
const Kernels& avx512();
const Kernels& avx512_bf16();
#endif

}  // namespace rapt::cpu
