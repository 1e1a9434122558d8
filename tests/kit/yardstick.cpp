// SPDX-License-Identifier: Apache-2.0 OR MIT
// Plain attention, a row at a time. The two loops that take the time run across keys and across
// dimensions, so that each sum keeps its order and the compiler may still use vectors.
#include "kit/yardstick.h"

#include <algorithm>
#include <cmath>

#include "kit/fp32.h"
#include "kit/numbers.h"

namespace rapt::kit {
namespace {

std::size_t place(std::int64_t row, std::int64_t width) {
  return static_cast<std::size_t>(row * width);
}

}  // namespace

Yardstick::Yardstick(const oracle::Model& model, const oracle::Sequence& sequence,
                     std::int64_t kv_head, rapt_dtype p_type, rapt_dtype out_type)
    : model_(model),
      sequence_(sequence),
      p_type_(p_type),
      out_type_(out_type),
      k_(place(model.head_dim, sequence.kv_len)),
      v_(place(sequence.kv_len, model.value_dim)) {
  for (std::int64_t j = 0; j < sequence.kv_len; ++j) {
    const std::int64_t row = j * model.kv_heads + kv_head;
    const double* k = sequence.k.data() + row * model.head_dim;
    const double* v = sequence.v.data() + row * model.value_dim;
    for (std::int64_t d = 0; d < model.head_dim; ++d) {
      k_[place(d, sequence.kv_len) + static_cast<std::size_t>(j)] = narrow(k[d]);
    }
    std::transform(v, v + model.value_dim, v_.begin() + j * model.value_dim, narrow);
  }
}

void Yardstick::scores(std::int64_t head, std::int64_t i, Noise& noise, std::vector<float>& s,
                       std::vector<float>* tanhs) const {
  const double* q = sequence_.q.data() + (i * model_.q_heads + head) * model_.head_dim;
  const float scale = narrow(model_.scale);
  const auto sees = [&](std::int64_t j) { return oracle::sees(model_, sequence_, i, j); };
  std::int64_t begin = 0, end = sequence_.kv_len;  // of the keys between which all seen ones are
  while (begin < end && !sees(begin)) ++begin;
  while (begin < end && !sees(end - 1)) --end;
  s.assign(static_cast<std::size_t>(sequence_.kv_len), -INFINITY);
  std::fill(s.begin() + begin, s.begin() + end, 0.0f);
  for (std::int64_t n = 0; n < model_.head_dim; ++n) {
    const std::int64_t d = (n + noise.draw() * 5) % model_.head_dim;
    const float* k = k_.data() + d * sequence_.kv_len;
    add_product(narrow(q[d]), k + begin, s.data() + begin, end - begin);
    if (n % 16 == 15) noise.disturb({s.data() + begin, s.data() + end});
  }
  for (std::int64_t j = begin; j < end; ++j) {
    float& x = s[static_cast<std::size_t>(j)];
    float tanh = 0;
    x = sees(j) ? biased(head, i, j, capped(x * scale, noise, &tanh), noise) : -INFINITY;
    if (tanhs != nullptr) (*tanhs)[static_cast<std::size_t>(j)] = tanh;
  }
}

float Yardstick::capped(float score, Noise& noise, float* tanh) const {
  score = noise(score);
  if (model_.softcap == 0) return score;
  *tanh = std::tanh(score / narrow(model_.softcap));
  return noise(narrow(model_.softcap) * *tanh);
}

float Yardstick::biased(std::int64_t head, std::int64_t i, std::int64_t j, float score,
                        Noise& noise) const {
  const oracle::Model& m = model_;
  const std::int64_t b = sequence_.index;
  if (!m.slopes.empty()) {
    const std::int64_t index = b * m.slope_strides[0] + head * m.slope_strides[1];
    const std::int64_t distance = std::abs(sequence_.q_start + i - sequence_.kv_start - j);
    const float slope = narrow(m.slopes[static_cast<std::size_t>(index)]);
    score = noise(score - noise(slope * static_cast<float>(distance)));
  }
  if (!m.bias.empty()) {
    const auto& strides = m.bias_strides;
    const std::int64_t index = b * strides[0] + head * strides[1] + i * strides[2] + j * strides[3];
    score = noise(score + narrow(m.bias[static_cast<std::size_t>(index)]));
  }
  return score;
}

YardstickRow Yardstick::row(std::int64_t head, std::int64_t i, int draw) const {
  Noise noise(i * model_.q_heads + head, draw);
  std::vector<float> p;
  scores(head, i, noise, p);
  YardstickRow result{-INFINITY, std::vector<float>(static_cast<std::size_t>(model_.value_dim))};
  float max = -INFINITY;
  for (const float x : p) max = x <= max ? max : x;
  if (max == -INFINITY) return result;
  const float sink =
      model_.sinks.empty() ? -INFINITY : narrow(model_.sinks[static_cast<std::size_t>(head)]);
  max = std::max(max, sink);
  // Draws take the exponentials from another reference than the largest score (0 .. 1 below it, as
  // evenly as the golden ratio spreads them), and round those.
  const float reference = max - std::fmod(narrow(draw) * 0.618034f, 1.0f);
  float sum = 0;
  for (float& x : p) sum += x = x == -INFINITY ? 0 : noise(std::exp(x - reference));
  sum += std::exp(sink - reference);
  result.lse = reference + std::log(sum);
  for (std::int64_t j = 0; j < sequence_.kv_len; ++j) {
    const float x = p[static_cast<std::size_t>(j)];
    if (x == 0) continue;
    const bool kept = oracle::dropout_factor(model_, sequence_, head, i, j) != 0;
    const float rounded = kept ? round_to(p_type_, draw == 0 ? x / sum : x) : 0;
    add_product(rounded, v_.data() + j * model_.value_dim, result.out.data(), model_.value_dim);
  }
  const float dropped = 256 / narrow(static_cast<double>(model_.dropout_keep));
  const float after = draw == 0 ? dropped : dropped / sum;
  for (float& x : result.out) x = round_to(out_type_, x * after);
  return result;
}

}  // namespace rapt::kit
