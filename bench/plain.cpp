// SPDX-License-Identifier: Apache-2.0 OR MIT
// Plain attention, but no straw man: two matrix products tiled in registers, a vector exponential,
// AVX2 where it is there, rows shared among threads. What it lacks is the fusion: the scores go
// through memory.
#include "bench/plain.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace rapt::bench {
namespace {

constexpr std::int64_t kLanes = 8;
constexpr std::int64_t kRows = 4;  // of a tile of a product
constexpr std::int64_t kColumns = 2 * kLanes;
using Lanes = float __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
using Whole = std::int32_t __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

// A matrix whose rows are contiguous and `stride` apart.
struct Matrix {
  float* data;
  std::int64_t stride;

  [[nodiscard]] float* row(std::int64_t i) const { return data + i * stride; }
};

struct Head {
  Matrix q, k_transposed, v, out, scores;
  float* lse;
  std::int64_t q_len, kv_len, head_dim, value_dim;
  float scale;
  bool causal;
};

// One tile of c = a b: kRows x kColumns, over n products each.
[[gnu::always_inline]] inline void multiply_tile(const Matrix& a, const Matrix& b, const Matrix& c,
                                                 std::int64_t n) {
  Lanes sums[kRows][2] = {};
  for (std::int64_t k = 0; k < n; ++k) {
    const auto* right = reinterpret_cast<const Lanes*>(b.row(k));
    for (std::int64_t i = 0; i < kRows; ++i) {
      sums[i][0] += a.row(i)[k] * right[0];
      sums[i][1] += a.row(i)[k] * right[1];
    }
  }
  for (std::int64_t i = 0; i < kRows; ++i) {
    auto* place = reinterpret_cast<Lanes*>(c.row(i));
    place[0] = sums[i][0];
    place[1] = sums[i][1];
  }
}

// Four rows of c = a b, with so many columns.
[[gnu::always_inline]] inline void multiply(const Matrix& a, const Matrix& b, const Matrix& c,
                                            std::int64_t n, std::int64_t columns) {
  for (std::int64_t j = 0; j < columns; j += kColumns) {
    multiply_tile(a, {b.data + j, b.stride}, {c.data + j, c.stride}, n);
  }
}

// x = e^x for x <= 0: 2^n times a polynomial of the remainder (Cephes' expf).
[[gnu::always_inline]] inline void exponential(Lanes& x) {
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to a whole number
  x = x < -87.0F ? Lanes{} - 87.0F : x;
  const Lanes shifted = x * 1.44269504F + kRound;
  const Lanes n = shifted - kRound;
  const Lanes r = x - n * 0.693359375F + n * 2.12194440e-4F;
  Lanes p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  p = p * r * r + r + 1.0F;
  const Whole power = (reinterpret_cast<const Whole&>(shifted) + 127) << 23;
  x = p * reinterpret_cast<const Lanes&>(power);
}

// Scores of one row become probabilities. A query sees the first `keys` keys.
[[gnu::always_inline]] inline void softmax_row(const Head& h, std::int64_t i, std::int64_t keys) {
  float* row = h.scores.row(i);
  std::fill(row + keys, row + h.kv_len, -INFINITY);
  const float max = keys > 0 ? *std::max_element(row, row + keys) : 0.0F;
  float sum = 0;
  for (std::int64_t j = 0; j < h.kv_len; j += kLanes) {
    auto& x = *reinterpret_cast<Lanes*>(row + j);
    x = h.scale * (x - max);
    exponential(x);
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      row[j + lane] = j + lane < keys ? row[j + lane] : 0.0F;
      sum += row[j + lane];
    }
  }
  const float factor = keys > 0 ? 1 / sum : 0.0F;
  for (std::int64_t j = 0; j < h.kv_len; ++j) row[j] *= factor;
  if (h.lse != nullptr) h.lse[i] = keys > 0 ? h.scale * max + std::log(sum) : -INFINITY;
}

// Rows [begin, end), both multiples of kRows.
[[gnu::always_inline]] inline void rows_of(const Head& h, std::int64_t begin, std::int64_t end) {
  const auto from = [](const Matrix& m, std::int64_t i) { return Matrix{m.row(i), m.stride}; };
  for (std::int64_t i = begin; i < end; i += kRows) {
    multiply(from(h.q, i), h.k_transposed, from(h.scores, i), h.head_dim, h.kv_len);
  }
  for (std::int64_t i = begin; i < end; ++i) {
    const std::int64_t level = i + h.kv_len - h.q_len + 1;
    softmax_row(h, i, h.causal ? std::clamp<std::int64_t>(level, 0, h.kv_len) : h.kv_len);
  }
  for (std::int64_t i = begin; i < end; i += kRows) {
    multiply(from(h.scores, i), h.v, from(h.out, i), h.kv_len, h.value_dim);
  }
}

void rows_baseline(const Head& h, std::int64_t begin, std::int64_t end) { rows_of(h, begin, end); }

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void rows_avx2(const Head& h, std::int64_t begin,
                                                   std::int64_t end) {
  rows_of(h, begin, end);
}

bool has_avx2() {
  return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0;
}
#else
constexpr auto rows_avx2 = rows_baseline;
bool has_avx2() { return false; }
#endif

void run_head(const Head& h, int threads) {
  const auto rows = has_avx2() ? rows_avx2 : rows_baseline;
  const std::int64_t tiles = h.q_len / kRows;
  std::vector<std::thread> team;
  for (int t = 0; t < threads; ++t) {
    team.emplace_back(rows, std::cref(h), tiles * t / threads * kRows,
                      tiles * (t + 1) / threads * kRows);
  }
  for (std::thread& thread : team) thread.join();
}

bool takes(const rapt_attention& a) {
  const bool plain = a.softcap == nullptr && a.alibi == nullptr && a.bias == nullptr &&
                     a.sinks == nullptr && a.dropout == nullptr && a.ragged == nullptr &&
                     a.pages == nullptr && a.lengths == nullptr && a.positions == nullptr;
  const bool mask = a.mask == nullptr || (a.mask->left == RAPT_UNBOUNDED && a.mask->right == 0);
  const bool fp32 = a.q.dtype == RAPT_FP32 && a.out.dtype == RAPT_FP32;
  return plain && mask && fp32 && a.q.rank == 4 && a.q.shape[2] == a.k.shape[2] &&
         a.q.shape[1] % kRows == 0 && a.k.shape[1] % kColumns == 0 && a.v.shape[3] % kColumns == 0;
}

float* at(const rapt_tensor& t, std::int64_t batch, std::int64_t head, int head_axis) {
  const std::int64_t offset = batch * t.strides[0] + head * t.strides[head_axis];
  return t.data == nullptr ? nullptr : static_cast<float*>(t.data) + offset;
}

void transpose(const Matrix& from, const Matrix& to, std::int64_t rows, std::int64_t columns) {
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) to.row(j)[i] = from.row(i)[j];
  }
}

// The problem's sizes, and memory for one head at a time.
Head make_head(const rapt_attention& a, float* scores, float* k_transposed) {
  Head h{};
  h.q_len = a.q.shape[1];
  h.kv_len = a.k.shape[1];
  h.head_dim = a.q.shape[3];
  h.value_dim = a.v.shape[3];
  h.scores = {scores, h.kv_len};
  h.k_transposed = {k_transposed, h.kv_len};
  const auto usual = static_cast<float>(1 / std::sqrt(static_cast<double>(h.head_dim)));
  h.scale = a.scale != nullptr ? *a.scale : usual;
  h.causal = a.mask != nullptr;
  return h;
}

void place_head(const rapt_attention& a, std::int64_t batch, std::int64_t head, Head& h) {
  h.q = {at(a.q, batch, head, 2), a.q.strides[1]};
  h.v = {at(a.v, batch, head, 2), a.v.strides[1]};
  h.out = {at(a.out, batch, head, 2), a.out.strides[1]};
  h.lse = at(a.lse, batch, head, 1);
  transpose({at(a.k, batch, head, 2), a.k.strides[1]}, h.k_transposed, h.kv_len, h.head_dim);
}

std::unique_ptr<float[]> floats(std::int64_t count) {
  return std::make_unique_for_overwrite<float[]>(static_cast<std::size_t>(count));
}

}  // namespace

bool plain_attention(const rapt_attention& a, int threads) {
  if (!takes(a)) return false;
  const auto scores = floats(a.q.shape[1] * a.k.shape[1]);
  const auto k_transposed = floats(a.k.shape[1] * a.k.shape[3]);
  Head h = make_head(a, scores.get(), k_transposed.get());
  for (std::int64_t batch = 0; batch < a.q.shape[0]; ++batch) {
    for (std::int64_t head = 0; head < a.q.shape[2]; ++head) {
      place_head(a, batch, head, h);
      run_head(h, threads);
    }
  }
  return true;
}

}  // namespace rapt::bench
