// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every tensor of a case, in host memory.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "kit/indices.h"
#include "kit/tensor.h"

namespace rapt::kit {

// A tensor without dtype is one that the case does not need.
struct Tensors : Indices {
  using Indices::Indices;

  Tensor q, k, v, out, lse;
  Tensor slopes, bias, sinks;
  Tensor d_out, dq, dk, dv, d_bias, d_sinks, d_slopes;

  [[nodiscard]] std::vector<Tensor*> inputs();
  [[nodiscard]] std::vector<Tensor*> outputs();
  [[nodiscard]] std::vector<std::pair<std::string, Tensor*>> named_outputs();
};

// Filled from the case's seed, outputs and unused parts poisoned with NaN; or, not filled, without
// memory but for the indices.
Tensors make_tensors(const Case& c, bool filled);

}  // namespace rapt::kit
