// SPDX-License-Identifier: Apache-2.0 OR MIT
// The end of a row: sinks join the denominator, out and lse are written; or its partial sums are.
#pragma once
#include "backend/cpu/context.h"
#include "backend/cpu/elements.h"
#include "backend/cpu/vec.h"

namespace rapt::cpu {
namespace {

constexpr int kMaxDim = 512;

inline std::int64_t row_offset(const Context& c, const Rows& rows, std::int64_t row) {
  const Sequence& s = c.sequence;
  return s.q_batch * rows.batch_stride + (s.q_token + c.token(row)) * rows.token_stride +
         c.head(row) * rows.head_stride;
}

// A tensor with a row for every query and head: q, out, or the gradient of one.
struct RowTensor {
  const Rows& rows;
  DType dtype;
  int dim;

  int bytes() const { return dim * element_bytes(dtype); }
  char* at(const Context& c, std::int64_t row) const {
    return static_cast<char*>(rows.data) + row_offset(c, rows, row) * element_bytes(dtype);
  }
};

inline RowTensor queries_of(const Problem& p) {
  return {p.q, p.dtype, static_cast<int>(p.head_dim)};
}
inline RowTensor out_of(const Problem& p) {
  return {p.out, p.out_dtype, static_cast<int>(p.value_dim)};
}

// Rows that are about to be written lie as far apart as K's and V's (source.h): fetched a tile at a
// time, before use.
inline void prefetch_rows(const Context& c, const RowTensor& tensor, std::int64_t first,
                          int count) {
  for (int i = 0; i < count; ++i) {
    const char* row = tensor.at(c, first + i);
    for (int at = 0; at < tensor.bytes(); at += 64) __builtin_prefetch(row + at, 1, 2);
  }
}

inline void write_row(const Context& c, std::int64_t row, const float* out, float lse) {
  const Problem& p = c.problem;
  narrow_row(out, static_cast<int>(p.value_dim), p.out_dtype, out_of(p).at(c, row));
  if (p.lse.data != nullptr) static_cast<float*>(p.lse.data)[row_offset(c, p.lse, row)] = lse;
}

inline void write_empty_row(const Context& c, std::int64_t row) {
  const float zeros[kMaxDim] = {};
  write_row(c, row, zeros, -kInfinity);
}

// `out` holds sum exp(s - reference) * v and is overwritten; `sum` the sum of exp(s - reference).
inline void finish_row(const Context& c, std::int64_t row, float* out, float reference, float sum) {
  const Problem& p = c.problem;
  // No key seen, or every score -inf; `out` may then hold 0 * NaN of keys that its neighbours saw.
  if (sum == 0.0f) return write_empty_row(c, row);
  float maximum = reference * c.unit, denominator = sum, weight = 1.0f;
  if (p.sinks != nullptr) {
    const float sink = p.sinks[c.head(row) * p.sinks_stride];
    if (sink > maximum) {
      weight = __builtin_expf(maximum - sink);
      denominator = sum * weight + 1.0f;
      maximum = sink;
    } else if (sink != -kInfinity) {
      denominator = sum + __builtin_expf(sink - maximum);
    }
  }
  const float keep = 256.0f / static_cast<float>(p.dropout_keep);
  const float factor = weight * keep / denominator;
  for (std::int64_t i = 0; i < p.value_dim; ++i) out[i] *= factor;
  write_row(c, row, out, maximum + __builtin_logf(denominator));
}

// Where a split over keys leaves row `index` of its partial rows.
inline void write_partial(const ForwardCall& call, std::int64_t index, const float* out,
                          float reference, float sum) {
  const std::int64_t value_dim = call.problem->value_dim;
  __builtin_memcpy(call.partials.out + index * value_dim, out,
                   static_cast<std::size_t>(value_dim) * sizeof(float));
  call.partials.max[index] = reference;
  call.partials.sum[index] = sum;
}

// Sums one row over its splits, `stride` partial rows apart, in order.
inline void combine_row(const ForwardCall& call, const Context& c, std::int64_t row,
                        std::int64_t index, std::int64_t stride, std::int64_t splits) {
  const std::int64_t value_dim = call.problem->value_dim;
  float out[kMaxDim] = {}, sum = 0.0f, reference = -kInfinity;
  for (std::int64_t s = 0; s < splits; ++s) {
    const float candidate = call.partials.max[index + s * stride];
    if (candidate > reference) reference = candidate;
  }
  for (std::int64_t s = 0; s < splits; ++s) {
    const std::int64_t part = index + s * stride;
    if (call.partials.sum[part] == 0.0f) continue;  // saw nothing; may hold its neighbours' NaN
    const float weight = __builtin_exp2f((call.partials.max[part] - reference) * c.exponent);
    const float* values = call.partials.out + part * value_dim;
    sum += weight * call.partials.sum[part];
    for (std::int64_t i = 0; i < value_dim; ++i) out[i] += weight * values[i];
  }
  finish_row(c, row, out, reference, sum);
}

}  // namespace
}  // namespace rapt::cpu
