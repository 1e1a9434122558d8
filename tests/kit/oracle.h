// SPDX-License-Identifier: Apache-2.0 OR MIT
// The oracle: attention and its gradient in float64, by plain loops over plain arrays. It knows no
// layout: kit/gather.h copies whatever layout a problem has into these arrays.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "rapt/rapt.h"

namespace rapt::kit::oracle {

using Int = std::int64_t;
using Array = std::vector<double>;

// What all sequences of a problem share.
struct Model {
  Int q_heads = 1, kv_heads = 1, head_dim = 0, value_dim = 0;
  double scale = 1, softcap = 0;
  Int left = RAPT_UNBOUNDED, right = RAPT_UNBOUNDED, sink_tokens = 0;
  Array slopes;                        // ALiBi; empty = off
  std::array<Int, 2> slope_strides{};  // batch, head
  Array bias;                          // empty = off
  std::array<Int, 4> bias_strides{};   // batch, head, query, key; 0 = broadcast
  Array sinks;                         // [q_heads]; empty = off
  Int dropout_keep = 256;              // of 256; 256 = off
  std::uint64_t dropout_seed = 0, dropout_offset = 0;
};

struct Sequence {
  Int index = 0;  // in the batch
  Int q_len = 0, kv_len = 0, q_start = 0, kv_start = 0;
  Array q{};  // [q_len, q_heads, head_dim]
  Array k{};  // [kv_len, kv_heads, head_dim]
  Array v{};  // [kv_len, kv_heads, value_dim]
};

// One query row of one head.
struct Row {
  double lse = 0;
  Array out;        // [value_dim]
  double keys = 0;  // that matter: (sum of w)^2 / (sum of w^2) over the weights w of out
};

// Gradients of one sequence, and those that sequences share; shaped as what they belong to.
struct Gradient {
  Array dq, dk, dv, d_bias, d_sinks, d_slopes;
};

bool sees(const Model& model, const Sequence& sequence, Int i, Int j);
Row forward(const Model& model, const Sequence& sequence, Int head, Int i);

// Adds the sequence's share to the gradient of sum(out * d_out); d_out is [q_len, q_heads,
// value_dim].
void backward(const Model& model, const Sequence& sequence, const Array& d_out, Gradient& gradient);
// One row's share; d_out is [value_dim].
void backward_row(const Model& model, const Sequence& sequence, Int head, Int i,
                  const double* d_out, Gradient& gradient);
Gradient zero_gradient(const Model& model, const Sequence& sequence);

// What dropout multiplies the probability of key j for query i by: 0 or 256 / keep.
double dropout_factor(const Model& model, const Sequence& sequence, Int head, Int i, Int j);

// Philox4x32 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter,
                                    std::array<std::uint32_t, 2> key, int rounds);

}  // namespace rapt::kit::oracle
