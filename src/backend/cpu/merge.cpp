// SPDX-License-Identifier: Apache-2.0 OR MIT
// merge: attention over disjoint sets of keys into attention over their union, row by row in FP32.
// Each row is read whole before it is written, so a part may be merged in place.
#include <algorithm>
#include <cmath>
#include <limits>

#include "backend/cpu/cache.h"
#include "backend/cpu/convert.h"
#include "backend/cpu/parallel.h"

namespace rapt::cpu {
namespace {

constexpr float kNothing = -std::numeric_limits<float>::infinity();  // the lse of no keys
constexpr std::int64_t kChunk = 64;  // elements summed at once, in registers or nearly so

struct Place {
  std::int64_t batch = 0, token = 0, head = 0;
};

template <class Stored>
Stored* element(const Rows& rows, const Place& at) {
  return static_cast<Stored*>(rows.data) + at.batch * rows.batch_stride +
         at.token * rows.token_stride + at.head * rows.head_stride;
}

// The softmax over the parts of one row. A NaN among the lse is no maximum and spoils the sum.
struct Weights {
  float max = kNothing;
  float sum = 0;

  Weights(const MergeJob& job, const Place& at) {
    for (const Rows& lse : job.lse) max = std::max(max, *element<float>(lse, at));
    for (const Rows& lse : job.lse) sum += of(*element<float>(lse, at));
  }

  // A part that saw no key weighs nothing, also beside others that saw none.
  [[nodiscard]] float of(float lse) const { return lse == kNothing ? 0.0F : std::exp(lse - max); }
  [[nodiscard]] float lse() const { return sum == 0 ? kNothing : max + std::log(sum); }
};

// Elements [begin, begin + count) of one merged row.
template <class Element>
void merge_chunk(const MergeJob& job, const Place& at, const Weights& weights, std::int64_t begin,
                 std::int64_t count) {
  using Stored = typename Element::Stored;
  float sums[kChunk] = {};
  const float scale = weights.sum == 0 ? 0.0F : 1.0F / weights.sum;
  for (std::size_t part = 0; part < job.out.size(); ++part) {
    const float lse = *element<float>(job.lse[part], at);
    if (lse == kNothing) continue;  // whatever its row holds
    const float weight = weights.of(lse) * scale;
    const Stored* from = element<Stored>(job.out[part], at) + begin;
    for (std::int64_t d = 0; d < count; ++d) sums[d] += weight * Element::load(from[d]);
  }
  Stored* to = element<Stored>(job.merged_out, at) + begin;
  for (std::int64_t d = 0; d < count; ++d) to[d] = Element::store(sums[d]);
}

template <class Element>
void merge_row(const MergeJob& job, const Place& at) {
  const Weights weights(job, at);
  for (std::int64_t begin = 0; begin < job.dim; begin += kChunk) {
    merge_chunk<Element>(job, at, weights, begin, std::min(kChunk, job.dim - begin));
  }
  if (job.merged_lse.data != nullptr) *element<float>(job.merged_lse, at) = weights.lse();
}

template <class Element>
void merge_all(const MergeJob& job, const Target& target) {
  const std::int64_t bytes = job.dim * static_cast<std::int64_t>(job.out.size() + 1) *
                             std::int64_t{sizeof(typename Element::Stored)};
  const std::int64_t rows = job.batch * job.tokens * job.heads;
  parallel_ranges(target, rows, bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t token = row / job.heads;
      merge_row<Element>(job, {token / job.tokens, token % job.tokens, row % job.heads});
    }
  });
}

}  // namespace

Status merge(const MergeJob& job, const Target& target) {
  switch (job.dtype) {
    case DType::fp32:
      merge_all<Fp32>(job, target);
      return {};
    case DType::fp16:
      merge_all<Fp16>(job, target);
      return {};
    case DType::bf16:
      merge_all<Bf16>(job, target);
      return {};
    default:
      return unsupported("out: merge takes fp32, fp16 or bf16");
  }
}

}  // namespace rapt::cpu
