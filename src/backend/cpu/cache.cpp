// SPDX-License-Identifier: Apache-2.0 OR MIT
// append: new tokens into a paged cache of any layout, keys turned by RoPE on their way in.
#include "backend/cpu/cache.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "backend/cpu/convert.h"
#include "backend/cpu/parallel.h"

namespace rapt::cpu {
namespace {

std::int64_t value_at(const Indices& indices, std::int64_t i) {
  const std::int64_t at = i * indices.stride;
  if (indices.dtype == DType::int64) return static_cast<const std::int64_t*>(indices.data)[at];
  return static_cast<const std::int32_t*>(indices.data)[at];
}

// An 8-bit element, which is only ever moved.
struct Byte {
  using Stored = std::uint8_t;
  static float load(std::uint8_t) { return 0; }
  static std::uint8_t store(float) { return 0; }
};

// One head of one token, written: runs of 2^shift contiguous elements, `run_stride` apart.
template <class Element>
struct Destination {
  typename Element::Stored* data = nullptr;
  std::int32_t shift = kOneRun;
  std::int64_t run_stride = 0;

  static constexpr std::int32_t kOneRun = 62;  // no dimension is so long

  // Element d's place in its run.
  [[nodiscard]] std::int64_t within(std::int64_t d) const {
    return d & ((std::int64_t{1} << shift) - 1);
  }
  typename Element::Stored& operator[](std::int64_t d) const {
    return data[(d >> shift) * run_stride + within(d)];
  }
};

// Copies elements [begin, end).
template <class Element>
void copy(const typename Element::Stored* from, const Destination<Element>& to, std::int64_t begin,
          std::int64_t end) {
  for (std::int64_t d = begin; d < end;) {
    const std::int64_t run = (std::int64_t{1} << to.shift) - to.within(d);
    const std::int64_t n = std::min(end - d, run);
    if (n == 1) {
      to[d] = from[d];
    } else {
      std::memmove(&to[d], from + d, static_cast<std::size_t>(n) * sizeof *from);
    }
    d += n;
  }
}

// The table rows of one token's position.
struct Rotation {
  const float* cos = nullptr;  // [rotary_dim / 2]
  const float* sin = nullptr;
  std::int64_t pairs = 0;
  bool interleaved = false;
};

Rotation rotation_of(const RopeTables& rope, std::int64_t token) {
  if (rope.rotary_dim == 0) return {};
  const std::int64_t position =
      std::clamp<std::int64_t>(value_at(rope.positions, token), 0, rope.table_rows - 1);
  return {rope.cos + position * rope.cos_stride, rope.sin + position * rope.sin_stride,
          rope.rotary_dim / 2, rope.interleaved};
}

// `from` may be where `to` leads: a pair is read before it is written.
template <class Element>
void put_head(const typename Element::Stored* from, const Destination<Element>& to,
              std::int64_t dim, const Rotation& rotation) {
  for (std::int64_t i = 0; i < rotation.pairs; ++i) {
    const std::int64_t a = rotation.interleaved ? 2 * i : i;
    const std::int64_t b = rotation.interleaved ? 2 * i + 1 : i + rotation.pairs;
    const float x = Element::load(from[a]);
    const float y = Element::load(from[b]);
    to[a] = Element::store(x * rotation.cos[i] - y * rotation.sin[i]);
    to[b] = Element::store(y * rotation.cos[i] + x * rotation.sin[i]);
  }
  copy(from, to, 2 * rotation.pairs, dim);
}

template <class Element>
class Appender {
 public:
  explicit Appender(const AppendJob& job) : job_(job) {}

  void token(std::int64_t token) const {
    const Rotation rotation = rotation_of(job_.rope, token);
    for (std::int64_t head = 0; head < job_.q.heads; ++head) {
      const Destination<Element> to{element(job_.q_out, token, head)};
      put_head(element(job_.q.from, token, head), to, job_.q.dim, rotation);
    }
    const std::int64_t slot = value_at(job_.slots, token);
    if (slot < 0 || slot / job_.page_size >= job_.pages) return;
    put_token(job_.k, job_.k_pages, token, slot, rotation);
    put_token(job_.v, job_.v_pages, token, slot, {});
  }

 private:
  using Stored = typename Element::Stored;

  static Stored* element(const Rows& rows, std::int64_t token, std::int64_t head) {
    return static_cast<Stored*>(rows.data) + token * rows.token_stride + head * rows.head_stride;
  }

  void put_token(const AppendSide& side, const PagedRows& pages, std::int64_t token,
                 std::int64_t slot, const Rotation& rotation) const {
    Stored* page = static_cast<Stored*>(pages.data) + slot / job_.page_size * pages.page_stride +
                   slot % job_.page_size * pages.token_stride;
    Destination<Element> to;
    if (pages.x > 1 || pages.dim_stride != 1) {
      to.shift = std::countr_zero(static_cast<std::uint64_t>(pages.x));
      to.run_stride = pages.dim_stride;
    }
    for (std::int64_t head = 0; head < side.heads; ++head) {
      to.data = page + head * pages.head_stride;
      put_head(element(side.from, token, head), to, side.dim, rotation);
    }
  }

  const AppendJob& job_;
};

template <class Element>
void append_all(const AppendJob& job, const Target& target) {
  const std::int64_t elements =
      job.k.heads * job.k.dim + job.v.heads * job.v.dim + job.q.heads * job.q.dim;
  const std::int64_t bytes = elements * std::int64_t{sizeof(typename Element::Stored)};
  const Appender<Element> appender(job);
  parallel_ranges(target, job.tokens, bytes, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t token = begin; token < end; ++token) appender.token(token);
  });
}

}  // namespace

Status append(const AppendJob& job, const Target& target) {
  switch (job.dtype) {
    case DType::fp32:
      append_all<Fp32>(job, target);
      return {};
    case DType::fp16:
      append_all<Fp16>(job, target);
      return {};
    case DType::bf16:
      append_all<Bf16>(job, target);
      return {};
    default:
      break;
  }
  if (job.rope.rotary_dim != 0) {
    return unsupported("rope: the cache has 8-bit elements, rope takes fp32, fp16 or bf16");
  }
  append_all<Byte>(job, target);
  return {};
}

}  // namespace rapt::cpu
