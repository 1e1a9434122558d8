// SPDX-License-Identifier: Apache-2.0 OR MIT
// The plain backward, a row at a time.
#include "kit/gradient_yardstick.h"

#include <algorithm>
#include <cmath>

#include "kit/fp32.h"
#include "kit/numbers.h"

namespace rapt::kit {
namespace {

std::vector<float> narrowed(const oracle::Array& from, std::int64_t first, std::int64_t count) {
  std::vector<float> to(static_cast<std::size_t>(count));
  std::transform(from.begin() + first, from.begin() + first + count, to.begin(), narrow);
  return to;
}

std::size_t place(std::int64_t n) { return static_cast<std::size_t>(n); }

}  // namespace

YardstickGradient zeros_like(const oracle::Gradient& g) {
  const auto zeros = [](const oracle::Array& like) { return std::vector<float>(like.size()); };
  return {zeros(g.dq),     zeros(g.dk),      zeros(g.dv),
          zeros(g.d_bias), zeros(g.d_sinks), zeros(g.d_slopes)};
}

// One query row of one head.
struct GradientYardstick::Row {
  std::int64_t head, i, index;  // of its rows of q and out
  int draw;
  std::vector<float> q, d_out;
  std::vector<float> tanhs;  // of the softcap, a key each
};

GradientYardstick::GradientYardstick(const oracle::Model& model, const oracle::Sequence& sequence,
                                     const GradientInputs& inputs, std::int64_t kv_head,
                                     rapt_dtype p_type)
    : model_(model),
      sequence_(sequence),
      inputs_(inputs),
      kv_head_(kv_head),
      p_type_(p_type),
      forward_(model, sequence, kv_head, p_type, RAPT_FP32),
      v_(place(model.value_dim * sequence.kv_len)) {
  for (std::int64_t j = 0; j < sequence.kv_len; ++j) {
    const std::int64_t row = j * model.kv_heads + kv_head;
    const std::vector<float> k = narrowed(sequence.k, row * model.head_dim, model.head_dim);
    k_.insert(k_.end(), k.begin(), k.end());
    for (std::int64_t d = 0; d < model.value_dim; ++d) {
      v_[place(d * sequence.kv_len + j)] = narrow(sequence.v[place(row * model.value_dim + d)]);
    }
  }
}

// What a score hands on to the bias and the slope.
void GradientYardstick::add_shared(const Row& row, std::int64_t j, float ds,
                                   YardstickGradient& g) const {
  const oracle::Model& m = model_;
  const std::int64_t b = sequence_.index;
  if (!m.bias.empty()) {
    const auto& strides = m.bias_strides;
    const std::int64_t index =
        b * strides[0] + row.head * strides[1] + row.i * strides[2] + j * strides[3];
    g.d_bias[place(index)] += ds;
  }
  if (m.slopes.empty()) return;
  const std::int64_t distance = std::abs(sequence_.q_start + row.i - sequence_.kv_start - j);
  g.d_slopes[place(b * m.slope_strides[0] + row.head * m.slope_strides[1])] -=
      ds * static_cast<float>(distance);
}

// Draws round P and dS at another scale.
void GradientYardstick::add_products(const Row& row, std::int64_t j, float p, float dropped,
                                     float ds, YardstickGradient& g) const {
  const oracle::Model& m = model_;
  const float scale = std::exp2(std::fmod(narrow(row.draw) * 0.618034f, 1.0f));
  const auto rounded = [&](float x) { return round_to(p_type_, x * scale) / scale; };
  const std::int64_t kv_row = j * m.kv_heads + kv_head_;
  ds = rounded(ds);
  add_product(rounded(p) * dropped, row.d_out.data(), g.dv.data() + kv_row * m.value_dim,
              m.value_dim);
  add_product(ds, row.q.data(), g.dk.data() + kv_row * m.head_dim, m.head_dim);
  add_product(ds, k_.data() + j * m.head_dim, g.dq.data() + row.index * m.head_dim, m.head_dim);
}

// rowsum(dO O), and dP of every key. Draws begin the two at dimensions of their own, and are off
// after every 16.
float GradientYardstick::dot_rows(const Row& row, const std::vector<float>& out, Noise& noise,
                                  std::vector<float>& dp) const {
  const std::int64_t dim = model_.value_dim, keys = sequence_.kv_len;
  float delta = 0;
  for (std::int64_t n = 0; n < dim; ++n) {
    const std::int64_t d = (n + row.draw * 5) % dim, e = (n + row.draw * 3) % dim;
    delta = std::fma(row.d_out[place(e)], out[place(e)], delta);
    add_product(row.d_out[place(d)], v_.data() + d * keys, dp.data(), keys);
    if (n % 16 != 15 && n + 1 != dim) continue;
    delta = noise(delta);
    noise.disturb(dp);
  }
  return delta;
}

void GradientYardstick::add_row(std::int64_t head, std::int64_t i, int draw,
                                YardstickGradient& g) const {
  const oracle::Model& m = model_;
  const std::int64_t index = i * m.q_heads + head, keys = sequence_.kv_len;
  const float lse = narrow(inputs_.lse[place(index)]);
  if (lse == -INFINITY) return;
  Noise noise(index, draw);
  Row row{head,
          i,
          index,
          draw,
          narrowed(sequence_.q, index * m.head_dim, m.head_dim),
          narrowed(inputs_.d_out, index * m.value_dim, m.value_dim),
          std::vector<float>(place(keys))};
  const std::vector<float> out = narrowed(inputs_.out, index * m.value_dim, m.value_dim);
  std::vector<float> s, dp(place(keys));
  forward_.scores(head, i, noise, s, &row.tanhs);
  const float delta = dot_rows(row, out, noise, dp);
  if (!m.sinks.empty()) {
    g.d_sinks[place(head)] -= std::exp(narrow(m.sinks[place(head)]) - lse) * delta;
  }
  for (std::int64_t j = 0; j < keys; ++j) {
    if (!oracle::sees(m, sequence_, i, j)) continue;
    const float dropped = narrow(oracle::dropout_factor(m, sequence_, head, i, j));
    const float p = noise(std::exp(noise(s[place(j)] - lse)));
    const float ds = noise(p * (dp[place(j)] * dropped - delta));
    add_shared(row, j, ds, g);
    const float t = noise(row.tanhs[place(j)]);
    add_products(row, j, p, dropped, ds * noise(1 - t * t), g);
  }
}

}  // namespace rapt::kit
