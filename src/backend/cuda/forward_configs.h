// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which configuration of a forward kernel serves a problem: its tile by head size, number of query
// rows and the device's shared memory, its features by what the problem has.
#pragma once
#include <cstdint>
#include <vector>

#include "backend/cuda/arch.h"
#include "backend/cuda/kernel_key.h"
#include "jobs.h"
#include "kernels/cuda/forward_config.h"
#include "problem.h"
#include "work.h"

namespace rapt::cuda {

// The forward kernels of one way to multiply.
enum class ForwardKind {
  hopper,    // wgmma and TMA, sm_90 alone
  portable,  // tensor cores, sm_80 and newer
  fma        // FP32 multiply-adds
};

const KernelFamily& forward_family(ForwardKind kind);
const KernelFamily& combine_family();

// What a tile needs of a device.
struct ForwardLimits {
  std::int32_t max_shared_bytes = 0;  // of one block
  std::int32_t multiprocessors = 0;
};

// Of the usual device of an architecture, whose own is not here.
ForwardLimits limits_of(Arch arch);

// What the problem has: everything but sizes and tile.
void configure_features(const Problem& problem, kernels::ForwardConfig* config);

// For sequences of up to `q_len` queries: everything but `aligned`, which addresses decide, and
// `split`, which follows from the grid. False where no tile fits the device's shared memory.
bool configure_forward(ForwardKind kind, const Problem& problem, std::int64_t q_len,
                       const ForwardLimits& limits, kernels::ForwardConfig* config);

// The combine behind a forward kernel. It is the same for every tile of as many rows; what it does
// not read is left at its default, so that few are compiled.
kernels::ForwardConfig combine_config(const kernels::ForwardConfig& config);

// How a problem is divided for the tile.
Grain grain_of(const kernels::ForwardConfig& config, std::int64_t kv_len,
               const ForwardLimits& limits);

std::uint32_t threads_of(ForwardKind kind, const kernels::ForwardConfig& config);
std::uint32_t shared_bytes_of(ForwardKind kind, const kernels::ForwardConfig& config);

// Rows of a combine's block, and its threads.
inline constexpr std::int64_t kCombineRows = 4;
inline constexpr std::uint32_t kCombineThreads = 128;

// What is compiled ahead: common = the usual head sizes, full and causal, prompts and decoding;
// all = every head size and type without a feature, with each, and with all of them (the ledger's).
void add_forward_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys);

}  // namespace rapt::cuda
