// SPDX-License-Identifier: Apache-2.0 OR MIT
// How a case becomes tensors. Every buffer starts as all ones bits, which is NaN in each
// floating-point type; then only what some query sees is written. Values belong to (sequence,
// token, head), whatever the layout.
#include "kit/tensors.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kit/numbers.h"
#include "kit/random.h"

namespace rapt::kit {
namespace {

// Streams of the case's seed; those of rows are further mixed with where the row is. Streams 8 and
// 9 are the indices', those above 100 the sequences'.
enum Stream : std::uint64_t { kQ = 1, kK, kV, kGradient, kBias, kSinks, kSlopes, kPlants = 10 };

// Where a sequence's keys are in k or v, for each way that a case may hold them.
struct Places {
  const rapt_tensor* view = nullptr;
  const Case* c = nullptr;
  const CaseSequence* sequence = nullptr;
  std::int64_t first_token = 0;         // ragged
  const std::int32_t* pages = nullptr;  // paged: this sequence's row of the table

  [[nodiscard]] std::int64_t operator()(std::int64_t token, std::int64_t head,
                                        std::int64_t d) const {
    const std::int64_t* s = view->strides;
    if (c->kv == "ragged") return (first_token + token) * s[0] + head * s[1] + d;
    if (c->kv == "dense") {
      return sequence->cache_row * s[0] + (sequence->left_pad + token) * s[1] + head * s[2] + d;
    }
    const std::int64_t page = pages[token / c->page_size] * s[0];
    const std::int64_t slot = token % c->page_size;
    if (c->layout == "page_head_dim") return page + slot * s[1] + head * s[2] + d;
    if (c->layout == "head_page_dim") return page + head * s[1] + slot * s[2] + d;
    if (view->rank == 4) return page + head * s[1] + d * s[2] + slot;
    const std::int64_t x = view->shape[4];
    return page + head * s[1] + d / x * s[2] + slot * s[3] + d % x;
  }
};

// One element of a value distribution: `d` is the element's place in its head.
double draw(const Case& c, Stream stream, Random& random, std::int64_t d) {
  const double x = random.normal();
  if (c.values == "offset") return x + (stream == kV ? 1.5 : 0.5);
  if (c.values == "outliers")
    return d % 16 == 3 ? 12 * x : x;  // a few channels dominate, as in real models
  if (c.values == "large") return stream == kV ? x : 6 * x;  // nearly one-hot rows
  return x;
}

// Tensors while they are being made; without `filled` they have shapes and no memory.
struct Maker : Tensors {
  bool filled;

  Maker(const Case& given, bool wanted) : Tensors(given), filled(wanted) {
    make_tensors();
    if (c.direction == "backward") make_gradient();
    if (filled) fill();
  }

  // ---- memory

  // Padded tensors begin one element into their memory: aligned to nothing wider.
  void allocate(Tensor& t) const {
    if (filled) t.allocate(c.order == "padded" ? 1 : 0);
  }

  [[nodiscard]] std::int64_t gap() const { return c.order == "padded" ? 3 : 0; }

  void make(Tensor& t, rapt_dtype dtype, const Sizes& shape) const {
    t.view = make_view(dtype, shape, natural(shape.size()), gap());
    allocate(t);
  }

  // q, out, and k, v where they are not paged: [batch, len, heads, dim] or [tokens, heads, dim].
  void make_heads(Tensor& t, rapt_dtype dtype, const Sizes& shape) const {
    Sizes order = natural(shape.size());
    if (c.order == "bhsd") std::swap(order[shape.size() - 3], order[shape.size() - 2]);
    t.view = make_view(dtype, shape, order, gap());
    allocate(t);
  }

  // ---- tensors

  [[nodiscard]] std::int64_t cache_rows() const { return c.cache_row ? c.batch + 2 : c.batch; }

  // Rows of a dense cache: more than are used where anything says how many are.
  [[nodiscard]] std::int64_t cache_len() const {
    std::int64_t most = c.kv_len;
    for (const CaseSequence& s : sequences) most = std::max(most, s.left_pad + s.kv_len);
    return kv_used.view.data != nullptr ? most + 3 : most;
  }

  void make_kv(Tensor& t, std::int64_t dim, bool is_key) const {
    const std::int64_t heads = c.kv_heads;
    const std::int64_t page = c.page_size;
    const std::int64_t x = std::min<std::int64_t>(16 / dtype_bytes(c.dtype), dim);
    if (c.kv == "dense") return make_heads(t, c.dtype, {cache_rows(), cache_len(), heads, dim});
    if (c.kv == "ragged") return make_heads(t, c.dtype, {offsets(kv_len_of).back(), heads, dim});
    if (c.layout == "page_head_dim") return make(t, c.dtype, {cache_pages, page, heads, dim});
    if (c.layout == "head_page_dim") return make(t, c.dtype, {cache_pages, heads, page, dim});
    if (c.layout == "head_dim_page" || !is_key)
      return make(t, c.dtype, {cache_pages, heads, dim, page});
    make(t, c.dtype, {cache_pages, heads, dim / x, page, x});
  }

  void make_rows(Tensor& t, rapt_dtype dtype, std::int64_t dim) const {
    if (c.q == "ragged") return make_heads(t, dtype, {offsets(q_len_of).back(), c.q_heads, dim});
    make_heads(t, dtype, {c.batch, c.q_len, c.q_heads, dim});
  }

  void make_bias(Tensor& t, rapt_dtype dtype) const {
    const auto size = [this](char letter, std::int64_t full) {
      return c.bias_dims.find(letter) == std::string::npos ? 1 : full;
    };
    // At least 1 where it must cover what is not known from shapes: the longest may have no key.
    const std::int64_t keys = c.kv == "dense" ? cache_len() : std::max<std::int64_t>(c.kv_len, 1);
    const std::int64_t queries = c.q == "dense" ? c.q_len : std::max<std::int64_t>(c.q_len, 1);
    make(t, dtype, {size('b', c.batch), size('h', c.q_heads), size('q', queries), keys});
  }

  void make_tensors() {
    make_rows(q, c.dtype, c.head_dim);
    make_kv(k, c.head_dim, true);
    make_kv(v, c.value_dim, false);
    make_rows(out, c.out_dtype, c.value_dim);
    const std::int64_t tokens = c.q == "ragged" ? offsets(q_len_of).back() : c.q_len;
    if (c.lse && c.q == "ragged") make(lse, RAPT_FP32, {c.q_heads, tokens});
    if (c.lse && c.q == "dense") make(lse, RAPT_FP32, {c.batch, c.q_heads, tokens});
    if (c.alibi == "head") make(slopes, RAPT_FP32, {c.q_heads});
    if (c.alibi == "batch") make(slopes, RAPT_FP32, {c.batch, c.q_heads});
    if (c.sinks) make(sinks, RAPT_FP32, {c.q_heads});
    const rapt_dtype narrow = c.bias == "fp16" ? RAPT_FP16 : RAPT_BF16;
    if (c.bias != "none") make_bias(bias, c.bias == "fp32" ? RAPT_FP32 : narrow);
  }

  void make_gradient() {
    make_rows(d_out, c.out_dtype, c.value_dim);
    make_rows(dq, c.dtype, c.head_dim);
    make_kv(dk, c.head_dim, true);
    make_kv(dv, c.value_dim, false);
    if (c.bias != "none") make_bias(d_bias, RAPT_FP32);
    if (c.sinks) make(d_sinks, RAPT_FP32, {c.q_heads});
    if (c.alibi == "head") make(d_slopes, RAPT_FP32, {c.q_heads});
    if (c.alibi == "batch") make(d_slopes, RAPT_FP32, {c.batch, c.q_heads});
  }

  // ---- values

  void fill() {
    fill_rows(q, kQ);
    if (c.direction == "backward") fill_rows(d_out, kGradient);
    fill_keys(k, kK, c.head_dim);
    fill_keys(v, kV, c.value_dim);
    if (c.values == "nan" || c.values == "inf") plant();
    if (c.bias != "none") fill_bias();
    fill_slopes();
    Random random(c.seed, kSinks);
    for (std::int64_t h = 0; c.sinks && h < c.q_heads; ++h) {
      sinks.set(h, random.chance(0.2) ? -INFINITY : 2 * random.normal());
    }
  }

  // A row's own random numbers.
  [[nodiscard]] Random row_random(Stream stream, std::size_t b, std::int64_t token,
                                  std::int64_t head) const {
    const std::uint64_t place = (static_cast<std::uint64_t>(b) << 44) +
                                (static_cast<std::uint64_t>(token) << 12) +
                                static_cast<std::uint64_t>(head);
    return {c.seed ^ place * 0xff51afd7ed558ccdu, stream};
  }

  // Rows of q or d_out; padding rows behind a sequence's length stay NaN.
  void fill_rows(Tensor& t, Stream stream) const {
    const std::int64_t dim = t.view.shape[t.view.rank - 1];
    const bool ragged_q = c.q == "ragged";
    const std::int64_t* strides = t.view.strides + (ragged_q ? 0 : 1);
    std::int64_t first = 0;
    for (std::size_t b = 0; b < sequences.size(); ++b) {
      for (std::int64_t i = 0; i < sequences[b].q_len; ++i) {
        for (std::int64_t h = 0; h < c.q_heads; ++h) {
          Random random = row_random(stream, b, i, h);
          const std::int64_t offset = first + i * strides[0] + h * strides[1];
          for (std::int64_t d = 0; d < dim; ++d) t.set(offset + d, draw(c, stream, random, d));
        }
      }
      first += ragged_q ? sequences[b].q_len * strides[0] : t.view.strides[0];
    }
  }

  [[nodiscard]] Places places(const Tensor& t, std::size_t b) const {
    Places p{&t.view, &c, &sequences[b]};
    if (c.kv == "ragged") p.first_token = offsets(kv_len_of)[b];
    if (c.kv == "paged") {
      p.pages = static_cast<const std::int32_t*>(table.view.data) +
                static_cast<std::int64_t>(b) * table.view.strides[0];
    }
    return p;
  }

  // Keys that some query of their sequence sees; the others stay NaN.
  void fill_keys(Tensor& t, Stream stream, std::int64_t dim) const {
    for (std::size_t b = 0; b < sequences.size(); ++b) {
      const Places place = places(t, b);
      for (std::int64_t j = 0; j < sequences[b].kv_len; ++j) {
        if (!case_needs(c, sequences[b], j)) continue;
        for (std::int64_t h = 0; h < c.kv_heads; ++h) {
          Random random = row_random(stream, b, j, h);
          for (std::int64_t d = 0; d < dim; ++d) t.set(place(j, h, d), draw(c, stream, random, d));
        }
      }
    }
  }

  // NaN or an infinity in one key or value of about half of the (sequence, head) pairs.
  void plant() {
    Random random(c.seed, kPlants);
    for (std::size_t b = 0; b < sequences.size(); ++b) {
      for (std::int64_t h = 0; h < c.kv_heads; ++h) {
        const bool in_key = random.chance(0.5);
        const double infinity = random.chance(0.5) ? INFINITY : -INFINITY;
        const double value = c.values == "nan" ? NAN : infinity;
        const std::int64_t j =
            random.integer(0, std::max<std::int64_t>(sequences[b].kv_len - 1, 0));
        const std::int64_t d = random.integer(0, (in_key ? c.head_dim : c.value_dim) - 1);
        if (random.chance(0.5) || j >= sequences[b].kv_len) continue;
        Tensor& t = in_key ? k : v;
        t.set(places(t, b)(j, h, d), value);
      }
    }
  }

  // Some keys and some whole rows are hidden by -inf. What no sequence reaches stays NaN.
  void fill_bias() {
    Random random(c.seed, kBias);
    const rapt_tensor& view = bias.view;
    const std::int64_t keys = sequences.empty() ? 0 : std::min(c.kv_len, view.shape[3]);
    for (const std::int64_t offset : row_offsets(view)) {
      const bool hidden = random.chance(0.02);
      for (std::int64_t j = 0; j < keys; ++j) {
        const bool none = hidden || random.chance(0.04);
        bias.set(offset + j, none ? -INFINITY : 1.5 * random.normal());
      }
    }
  }

  void fill_slopes() {
    Random random(c.seed, kSlopes);
    if (c.alibi == "none") return;
    for (const std::int64_t offset : row_offsets(slopes.view)) {
      for (std::int64_t h = 0; h < c.q_heads; ++h) {
        slopes.set(offset + h, std::exp2(-8 * random.uniform()));  // 1/256 .. 1, as in the paper
      }
    }
  }
};

}  // namespace

std::vector<Tensor*> Tensors::inputs() {
  return {&q,          &k,     &v,      &slopes,  &bias,      &sinks,    &d_out,   &q_offsets,
          &kv_offsets, &table, &q_used, &kv_used, &cache_row, &left_pad, &q_start, &kv_start};
}

std::vector<std::pair<std::string, Tensor*>> Tensors::named_outputs() {
  return {{"out", &out}, {"lse", &lse},       {"dq", &dq},           {"dk", &dk},
          {"dv", &dv},   {"d_bias", &d_bias}, {"d_sinks", &d_sinks}, {"d_slopes", &d_slopes}};
}

std::vector<Tensor*> Tensors::outputs() {
  std::vector<Tensor*> all;
  for (const auto& output : named_outputs()) all.push_back(output.second);
  return all;
}

Tensors make_tensors(const Case& c, bool filled) {
  Maker maker(c, filled);
  return std::move(static_cast<Tensors&>(maker));
}

}  // namespace rapt::kit
