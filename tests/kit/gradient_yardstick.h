// SPDX-License-Identifier: Apache-2.0 OR MIT
// The yardstick of gradients: the plain backward in FP32, given the same out, lse and d_out. Sums
// in order by fused multiply-add; P and dS are rounded to the problem's type where they are
// multiplied.
#pragma once
#include <cstdint>
#include <vector>

#include "kit/fp32.h"
#include "kit/oracle.h"
#include "kit/yardstick.h"

namespace rapt::kit {

// What a backward is given beside the problem, as the forward left it: out and d_out [q_len,
// q_heads, value_dim], lse [q_len, q_heads].
struct GradientInputs {
  oracle::Array out, d_out, lse;
};

// Shaped as oracle::Gradient. dq and dk lack the scale; nothing is rounded to the outputs' type
// yet.
struct YardstickGradient {
  std::vector<float> dq, dk, dv, d_bias, d_sinks, d_slopes;
};
YardstickGradient zeros_like(const oracle::Gradient& gradient);

// One (sequence, kv head).
class GradientYardstick {
 public:
  GradientYardstick(const oracle::Model& model, const oracle::Sequence& sequence,
                    const GradientInputs& inputs, std::int64_t kv_head, rapt_dtype p_type);

  // Adds P = exp(S - lse) and dS = P (dP - rowsum(dO O)) of one row in their products. Draws as of
  // the forward's yardstick.
  void add_row(std::int64_t head, std::int64_t i, int draw, YardstickGradient& gradient) const;

 private:
  struct Row;

  float dot_rows(const Row& row, const std::vector<float>& out, Noise& noise,
                 std::vector<float>& dp) const;
  void add_shared(const Row& row, std::int64_t j, float ds, YardstickGradient& gradient) const;
  void add_products(const Row& row, std::int64_t j, float p, float dropped, float ds,
                    YardstickGradient& gradient) const;

  const oracle::Model& model_;
  const oracle::Sequence& sequence_;
  const GradientInputs& inputs_;
  std::int64_t kv_head_;
  rapt_dtype p_type_;
  Yardstick forward_;
  std::vector<float> k_;  // [kv_len, head_dim]
  std::vector<float> v_;  // [value_dim, kv_len]
};

}  // namespace rapt::kit
