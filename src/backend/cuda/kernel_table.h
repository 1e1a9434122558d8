// SPDX-License-Identifier: Apache-2.0 OR MIT
// The CUDA kernels of attention, best first, and what is compiled ahead for an architecture.
#pragma once
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/backward_configs.h"
#include "backend/cuda/driver.h"
#include "backend/cuda/forward_configs.h"
#include "backend/cuda/kernel_key.h"
#include "backend/cuda/machine.h"
#include "jobs.h"
#include "problem.h"
#include "refusal.h"
#include "status.h"

namespace rapt::cuda {

// One row. It is asked about a problem only where a device of its architectures holds it.
struct KernelRow {
  const char* name;      // "cuda/portable_forward"
  std::int16_t minimum;  // the oldest architecture that it runs on: 80
  std::int16_t maximum;  // the newest
  ForwardKind kind;
  // Whether it is fast where it computes the problem; null: always.
  bool (*suits)(const Problem&);
  // The field that it does not compute and what it wants.
  Refusal (*refuse)(const Problem&, const Device&);
};

std::span<const KernelRow> kernel_table();

// The answer of a row.
Refusal refusal(const KernelRow& row, const Problem& problem, const Machine& machine);

// A row of the backward's table, asked in the same way.
struct GradientRow {
  const char* name;  // "cuda/portable_backward"
  std::int16_t minimum;
  BackwardKind kind;
  bool by_name;  // runs only where it is asked for: other bits in every run
};

std::span<const GradientRow> gradient_table();

Refusal refusal(const GradientRow& row, const Gradient& gradient, const Machine& machine,
                const Target& target);

// The same where q is not on a CUDA device: nothing is asked of the machine.
Refusal refusal_elsewhere(const Problem& problem);

// Says so where no row runs on the architecture.
Refusal refusal_of_arch(Arch arch);

// Every configuration of the preset that the architecture can run, of every family.
std::vector<KernelKey> kernels_ahead(Preset preset, Arch arch);

}  // namespace rapt::cuda
