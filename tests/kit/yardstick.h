// SPDX-License-Identifier: Apache-2.0 OR MIT
// The yardstick: plain attention in FP32, whose error against float64 says what error is fair on an
// input. Dots and key sums in order by fused multiply-add, scores unrounded, P and out rounded
// (docs/numerics.md).
#pragma once
#include <cstdint>
#include <vector>

#include "kit/fp32.h"
#include "kit/oracle.h"
#include "rapt/rapt.h"

namespace rapt::kit {

struct YardstickRow {
  float lse = 0;
  std::vector<float> out;  // [value_dim], rounded to out's type
};

// One (sequence, kv head).
class Yardstick {
 public:
  // p_type: what P is rounded to, the problem's dtype; out_type: out's.
  Yardstick(const oracle::Model& model, const oracle::Sequence& sequence, std::int64_t kv_head,
            rapt_dtype p_type, rapt_dtype out_type);

  // Draw 0 is the yardstick itself. Draw n > 0 is the same arithmetic with its roundings redone
  // elsewhere, as in Monte Carlo arithmetic (Parker, 1997): every stage of a score, and a dot
  // after each 16 dimensions, is off by a random part of half an ulp; dots begin at another
  // dimension; P is rounded at another scale before it is divided by its sum.
  YardstickRow row(std::int64_t head, std::int64_t i, int draw) const;

  // Scores of one row, -inf where the query does not see the key; tanhs, where wanted, are what the
  // softcap multiplies by its cap.
  void scores(std::int64_t head, std::int64_t i, Noise& noise, std::vector<float>& s,
              std::vector<float>* tanhs = nullptr) const;

 private:
  float capped(float score, Noise& noise, float* tanh) const;
  float biased(std::int64_t head, std::int64_t i, std::int64_t j, float score, Noise& noise) const;

  const oracle::Model& model_;
  const oracle::Sequence& sequence_;
  rapt_dtype p_type_, out_type_;
  std::vector<float> k_;  // [head_dim, kv_len]
  std::vector<float> v_;  // [kv_len, value_dim]
};

}  // namespace rapt::kit
