// SPDX-License-Identifier: Apache-2.0 OR MIT
// The function of rapt.h, written as it stands there.
#include "kit/oracle.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace rapt::kit::oracle {
namespace {

const double* row_of(const Array& tensor, Int row, Int dim) { return tensor.data() + row * dim; }
double* row_of(Array& tensor, Int row, Int dim) { return tensor.data() + row * dim; }

Int kv_head_of(const Model& m, Int head) { return head / (m.q_heads / m.kv_heads); }

double dot(const double* a, const double* b, Int n) {
  double sum = 0;
  for (Int d = 0; d < n; ++d) sum += a[d] * b[d];
  return sum;
}

Int distance(const Sequence& s, Int i, Int j) { return std::abs(s.q_start + i - s.kv_start - j); }

Int slope_index(const Model& m, const Sequence& s, Int head) {
  return s.index * m.slope_strides[0] + head * m.slope_strides[1];
}

Int bias_index(const Model& m, const Sequence& s, Int head, Int i, Int j) {
  const auto& strides = m.bias_strides;
  return s.index * strides[0] + head * strides[1] + i * strides[2] + j * strides[3];
}

double at(const Array& array, Int index) { return array[static_cast<std::size_t>(index)]; }
double& at(Array& array, Int index) { return array[static_cast<std::size_t>(index)]; }

double scaled_dot(const Model& m, const Sequence& s, Int head, Int i, Int j) {
  const double* q = row_of(s.q, i * m.q_heads + head, m.head_dim);
  const double* k = row_of(s.k, j * m.kv_heads + kv_head_of(m, head), m.head_dim);
  return m.scale * dot(q, k, m.head_dim);
}

double score(const Model& m, const Sequence& s, Int head, Int i, Int j) {
  double x = scaled_dot(m, s, head, i, j);
  if (m.softcap != 0) x = m.softcap * std::tanh(x / m.softcap);
  if (!m.slopes.empty()) {
    x -= at(m.slopes, slope_index(m, s, head)) * static_cast<double>(distance(s, i, j));
  }
  if (!m.bias.empty()) x += at(m.bias, bias_index(m, s, head, i, j));
  return x;
}

// The softmax of one row. A row without a score above -inf is empty: no probabilities, lse = -inf.
struct Softmax {
  std::vector<Int> keys;  // those that the query sees
  Array p;                // one for each of keys, before dropout
  double sink = 0;        // the sink's own probability
  double lse = -INFINITY;
};

Softmax softmax(const Model& m, const Sequence& s, Int head, Int i) {
  Softmax row;
  double max = -INFINITY;
  for (Int j = 0; j < s.kv_len; ++j) {
    if (!sees(m, s, i, j)) continue;
    row.keys.push_back(j);
    row.p.push_back(score(m, s, head, i, j));
    if (!(row.p.back() <= max)) max = row.p.back();  // a NaN stays
    if (std::isnan(max)) max = INFINITY;
  }
  if (max == -INFINITY) return {};
  const double sink = m.sinks.empty() ? -INFINITY : at(m.sinks, head);
  max = std::max(max, sink);
  double sum = std::exp(sink - max);
  for (double& x : row.p) sum += x = std::exp(x - max);
  for (double& x : row.p) x /= sum;
  row.sink = std::exp(sink - max) / sum;
  row.lse = max + std::log(sum);
  return row;
}

}  // namespace

bool sees(const Model& m, const Sequence& s, Int i, Int j) {
  const Int ahead = (s.kv_start + j) - (s.q_start + i);
  return ahead <= m.right && (-ahead <= m.left || j < m.sink_tokens);
}

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> c, std::array<std::uint32_t, 2> k,
                                    int rounds) {
  for (int round = 0; round < rounds; ++round) {
    const std::uint64_t a = std::uint64_t{0xD2511F53} * c[0];
    const std::uint64_t b = std::uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<std::uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(b),
         static_cast<std::uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(a)};
    k = {k[0] + 0x9E3779B9, k[1] + 0xBB67AE85};
  }
  return c;
}

double dropout_factor(const Model& m, const Sequence& s, Int head, Int i, Int j) {
  if (m.dropout_keep == 256) return 1;
  const Int key = s.kv_start + j;
  const Int byte = ((key % 16) + 16) % 16;
  const auto low = [](auto x) { return static_cast<std::uint32_t>(x); };
  const auto random = philox({low((key - byte) / 16), low(s.q_start + i),
                              low(s.index * m.q_heads + head), low(m.dropout_offset)},
                             {low(m.dropout_seed), low(m.dropout_seed >> 32)}, 7);
  const std::uint32_t drawn = random[static_cast<std::size_t>(byte / 4)] >> (byte % 4 * 8) & 0xff;
  const auto keep = static_cast<double>(m.dropout_keep);
  return drawn < m.dropout_keep ? 256 / keep : 0;
}

Row forward(const Model& m, const Sequence& s, Int head, Int i) {
  const Softmax row = softmax(m, s, head, i);
  Row result{row.lse, Array(static_cast<std::size_t>(m.value_dim))};
  double sum = 0, squares = 0;
  for (std::size_t n = 0; n < row.keys.size(); ++n) {
    const Int j = row.keys[n];
    const double p = row.p[n] * dropout_factor(m, s, head, i, j);
    const double* v = row_of(s.v, j * m.kv_heads + kv_head_of(m, head), m.value_dim);
    for (Int d = 0; d < m.value_dim; ++d) at(result.out, d) += p * v[d];
    sum += p;
    squares += p * p;
  }
  if (squares > 0) result.keys = sum * sum / squares;
  return result;
}

Gradient zero_gradient(const Model& m, const Sequence& s) {
  return {Array(s.q.size()),    Array(s.k.size()),     Array(s.v.size()),
          Array(m.bias.size()), Array(m.sinks.size()), Array(m.slopes.size())};
}

// With p the softmax, r the dropout factor and D = sum_j p_j r_j (d_out . v_j):
//     dv_j += p_j r_j d_out;  ds_j = p_j (r_j (d_out . v_j) - D);  d_sink = -p_sink D
// and ds goes on to the bias, the slope and, through the softcap, to q and k.
void backward_row(const Model& m, const Sequence& s, Int head, Int i, const double* d_out,
                  Gradient& g) {
  const Softmax row = softmax(m, s, head, i);
  const Int q_row = i * m.q_heads + head;
  Array dp(row.keys.size());
  double D = 0;
  for (std::size_t n = 0; n < row.keys.size(); ++n) {
    const Int kv_row = row.keys[n] * m.kv_heads + kv_head_of(m, head);
    const double r = dropout_factor(m, s, head, i, row.keys[n]);
    dp[n] = r * dot(d_out, row_of(s.v, kv_row, m.value_dim), m.value_dim);
    D += row.p[n] * dp[n];
    double* dv = row_of(g.dv, kv_row, m.value_dim);
    for (Int d = 0; d < m.value_dim; ++d) dv[d] += row.p[n] * r * d_out[d];
  }
  if (!m.sinks.empty()) at(g.d_sinks, head) -= row.sink * D;
  for (std::size_t n = 0; n < row.keys.size(); ++n) {
    const Int j = row.keys[n];
    const Int kv_row = j * m.kv_heads + kv_head_of(m, head);
    double ds = row.p[n] * (dp[n] - D);
    if (!m.bias.empty()) at(g.d_bias, bias_index(m, s, head, i, j)) += ds;
    if (!m.slopes.empty()) {
      at(g.d_slopes, slope_index(m, s, head)) -= ds * static_cast<double>(distance(s, i, j));
    }
    if (m.softcap != 0) {
      const double t = std::tanh(scaled_dot(m, s, head, i, j) / m.softcap);
      ds *= 1 - t * t;
    }
    for (Int d = 0; d < m.head_dim; ++d) {
      row_of(g.dq, q_row, m.head_dim)[d] += ds * m.scale * row_of(s.k, kv_row, m.head_dim)[d];
      row_of(g.dk, kv_row, m.head_dim)[d] += ds * m.scale * row_of(s.q, q_row, m.head_dim)[d];
    }
  }
}

void backward(const Model& m, const Sequence& s, const Array& d_out, Gradient& gradient) {
  for (Int i = 0; i < s.q_len; ++i) {
    for (Int head = 0; head < m.q_heads; ++head) {
      backward_row(m, s, head, i, row_of(d_out, i * m.q_heads + head, m.value_dim), gradient);
    }
  }
}

}  // namespace rapt::kit::oracle
