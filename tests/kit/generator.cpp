// SPDX-License-Identifier: Apache-2.0 OR MIT
// Problems are small (about 5 million multiply-adds) so that thousands fit in minutes, and drawn
// around what kernels get wrong: tile borders, empty and zero-length sequences, long keys under few
// queries.
#include "kit/generator.h"

#include <algorithm>
#include <initializer_list>

namespace rapt::kit {
namespace {

using Int = std::int64_t;

bool varied(const std::vector<Int>& lens) { return !lens.empty(); }

bool has_zero_length(const Case& c) {
  const auto sequences = case_sequences(c);
  return std::any_of(sequences.begin(), sequences.end(),
                     [](const CaseSequence& s) { return s.q_len == 0 || s.kv_len == 0; });
}

bool has_empty_row(const Case& c) {
  for (const CaseSequence& s : case_sequences(c)) {
    for (Int i = 0; i < s.q_len; ++i) {
      if (case_visible_keys(c, s, i) == 0) return true;
    }
  }
  return false;
}

// Features of one axis exclude each other; axis "" stands alone.
struct Feature {
  const char* name;
  const char* axis;
  bool (*has)(const Case&);
};

const Feature kFeatures[] = {
    {"fp32", "dtype", [](const Case& c) { return c.dtype == RAPT_FP32; }},
    {"fp16", "dtype", [](const Case& c) { return c.dtype == RAPT_FP16; }},
    {"bf16", "dtype", [](const Case& c) { return c.dtype == RAPT_BF16; }},
    {"fp32_out", "", [](const Case& c) { return c.out_dtype != c.dtype; }},
    {"q_ragged", "q", [](const Case& c) { return c.q == "ragged"; }},
    {"q_lens", "q", [](const Case& c) { return c.q == "dense" && varied(c.q_lens); }},
    {"kv_lens", "", [](const Case& c) { return varied(c.kv_lens); }},
    {"kv_ragged", "kv", [](const Case& c) { return c.kv == "ragged"; }},
    {"page_head_dim", "kv",
     [](const Case& c) { return c.kv == "paged" && c.layout == "page_head_dim"; }},
    {"head_page_dim", "kv", [](const Case& c) { return c.layout == "head_page_dim"; }},
    {"head_dim_page", "kv", [](const Case& c) { return c.layout == "head_dim_page"; }},
    {"x_packed", "kv", [](const Case& c) { return c.layout == "x_packed"; }},
    {"cache_row", "", [](const Case& c) { return c.cache_row; }},
    {"left_pad", "", [](const Case& c) { return c.left_pad; }},
    {"positions", "", [](const Case& c) { return c.positions; }},
    {"causal", "mask", [](const Case& c) { return c.mask == "causal"; }},
    {"band", "mask", [](const Case& c) { return c.mask == "band"; }},
    {"sink_tokens", "", [](const Case& c) { return c.sink_tokens > 0; }},
    {"scale", "", [](const Case& c) { return c.scale != 0; }},
    {"softcap", "", [](const Case& c) { return c.softcap != 0; }},
    {"alibi_head", "alibi", [](const Case& c) { return c.alibi == "head"; }},
    {"alibi_batch", "alibi", [](const Case& c) { return c.alibi == "batch"; }},
    {"bias_fp32", "bias", [](const Case& c) { return c.bias == "fp32"; }},
    {"bias_fp16", "bias", [](const Case& c) { return c.bias == "fp16"; }},
    {"bias_bf16", "bias", [](const Case& c) { return c.bias == "bf16"; }},
    {"bias_broadcast", "", [](const Case& c) { return c.bias != "none" && c.bias_dims != "bhq"; }},
    {"sinks", "", [](const Case& c) { return c.sinks; }},
    {"dropout", "", [](const Case& c) { return c.dropout != 0; }},
    {"no_lse", "", [](const Case& c) { return !c.lse; }},
    {"bhsd", "order", [](const Case& c) { return c.order == "bhsd"; }},
    {"padded", "order", [](const Case& c) { return c.order == "padded"; }},
    {"gqa", "heads", [](const Case& c) { return c.kv_heads > 1 && c.q_heads > c.kv_heads; }},
    {"mqa", "heads", [](const Case& c) { return c.kv_heads == 1 && c.q_heads > 1; }},
    {"value_dim", "", [](const Case& c) { return c.value_dim != c.head_dim; }},
    {"head_dim_over_128", "", [](const Case& c) { return c.head_dim > 128; }},
    {"offset", "values", [](const Case& c) { return c.values == "offset"; }},
    {"outliers", "values", [](const Case& c) { return c.values == "outliers"; }},
    {"large", "values", [](const Case& c) { return c.values == "large"; }},
    {"nan", "values", [](const Case& c) { return c.values == "nan"; }},
    {"inf", "values", [](const Case& c) { return c.values == "inf"; }},
    {"batch", "", [](const Case& c) { return c.batch > 1; }},
    {"decode", "", [](const Case& c) { return c.q_len == 1; }},
    {"kv_len_over_384", "", [](const Case& c) { return c.kv_len > 384; }},
    {"zero_length", "", has_zero_length},
    {"empty_rows", "", has_empty_row},
};
constexpr std::size_t kCount = std::size(kFeatures);

std::size_t index_of(const std::string& name) {
  const auto& names = feature_names();
  return static_cast<std::size_t>(std::find(names.begin(), names.end(), name) - names.begin());
}

template <class T>
T pick(Random& random, std::initializer_list<T> choices) {
  return choices.begin()[random.integer(0, static_cast<Int>(choices.size()) - 1)];
}

void draw_types(Random& random, Case& c) {
  c.dtype = pick<rapt_dtype>(random, {RAPT_FP32, RAPT_FP16, RAPT_BF16});
  c.out_dtype = random.chance(0.3) ? RAPT_FP32 : c.dtype;
  c.order = pick<const char*>(random, {"bshd", "bhsd", "padded"});
  if (random.chance(0.6)) {
    c.values = pick<const char*>(random, {"offset", "outliers", "large", "nan", "inf"});
  }
  c.lse = random.chance(0.8);
  c.seed = static_cast<std::uint64_t>(random.integer(1, 99999));
}

Int draw_length(Random& random, Int most) {
  const Int border = pick<Int>(random, {16, 32, 64, 128, 256}) + random.integer(-1, 1);
  const Int length = random.chance(0.5) ? border : random.integer(1, most);
  return std::min(length, most);
}

void draw_sizes(Random& random, Case& c) {
  c.batch = pick<Int>(random, {1, 1, 2, 3, 4});
  c.kv_heads = pick<Int>(random, {1, 1, 2, 3});
  c.q_heads = c.kv_heads * pick<Int>(random, {1, 1, 2, 3, 4, 8});
  c.head_dim = 8 * random.integer(1, 16);
  if (random.chance(0.4)) c.head_dim = pick<Int>(random, {32, 64, 80, 96, 128});
  if (random.chance(0.2)) c.head_dim = pick<Int>(random, {136, 160, 192, 256, 264, 512});
  c.value_dim = random.chance(0.3) ? 8 * random.integer(1, 24) : c.head_dim;
  c.q_len = random.chance(0.25) ? 1 : draw_length(random, 140);
  c.kv_len = random.chance(0.45) ? random.integer(385, 1100) : draw_length(random, 384);
  if (random.chance(0.01)) c.q_len = 0;
  if (random.chance(0.02)) c.kv_len = 0;
}

// Shrinks what is drawn until the problem costs little; kv_len last, so that long keys stay common.
void keep_small(Random& random, Case& c) {
  constexpr Int kMost = 5'000'000;  // multiply-adds
  const auto cost = [&] {
    return c.batch * c.q_heads * c.q_len * c.kv_len * (c.head_dim + c.value_dim);
  };
  while (cost() > kMost) {
    const Int group = c.q_heads / c.kv_heads;
    if (c.q_len > 3 && random.chance(0.7)) {
      c.q_len = std::max<Int>(c.q_len / 2, 1);
    } else if (c.batch > 2) {
      --c.batch;
    } else if (group > 2) {
      c.q_heads = c.kv_heads * (group / 2);
    } else if (c.q_len > 1) {
      --c.q_len;
    } else {
      c.kv_len = c.kv_len * 3 / 4;
    }
  }
}

std::vector<Int> draw_lens(Random& random, Int batch, Int most) {
  std::vector<Int> lens;
  for (Int b = 0; b < batch; ++b) {
    const Int length = random.chance(0.3) ? most : random.integer(0, most);
    lens.push_back(random.chance(0.15) ? 0 : length);
  }
  return lens;
}

void draw_places(Random& random, Case& c) {
  c.q = random.chance(0.5) ? "ragged" : "dense";
  if (random.chance(0.6)) {
    c.kv = random.chance(0.3) && c.q == "ragged" ? "ragged" : "paged";
  }
  if (c.kv == "paged") {
    c.page_size = Int{1} << random.integer(0, 8);
    c.layout =
        pick<const char*>(random, {"page_head_dim", "head_page_dim", "head_dim_page", "x_packed"});
  }
  if (random.chance(0.4)) c.q_lens = draw_lens(random, c.batch, c.q_len);
  if (random.chance(0.5)) c.kv_lens = draw_lens(random, c.batch, c.kv_len);
  c.cache_row = c.kv == "dense" && random.chance(0.4);
  c.left_pad = c.kv == "dense" && random.chance(0.4);
  c.positions = random.chance(0.3);
}

Int draw_side(Random& random) {
  if (random.chance(0.25)) return RAPT_UNBOUNDED;
  return random.chance(0.5) ? random.integer(0, 8) : random.integer(0, 300);
}

void draw_mask(Random& random, Case& c) {
  c.mask = pick<const char*>(random, {"full", "causal", "band", "band"});
  if (c.mask == "band") {
    c.left = draw_side(random);
    c.right = draw_side(random);
  }
  if (random.chance(0.25)) c.sink_tokens = random.integer(1, random.chance(0.8) ? 6 : 200);
}

void draw_scores(Random& random, Case& c) {
  if (random.chance(0.2)) c.scale = static_cast<double>(random.integer(-5, 30)) / 100;
  if (random.chance(0.25)) c.softcap = pick<double>(random, {2, 20, 30, 50});
  if (random.chance(0.35)) c.alibi = random.chance(0.5) ? "head" : "batch";
  if (random.chance(0.4)) {
    c.bias = pick<const char*>(random, {"fp32", "fp16", "bf16"});
    c.bias_dims = pick<const char*>(random, {"bhq", "bhq", "", "b", "h", "q", "bh", "bq", "hq"});
  }
  c.sinks = random.chance(0.25);
  if (random.chance(0.25)) c.dropout = pick<double>(random, {0.1, 0.25, 0.5, 0.9});
}

// Where a drawn problem has a paged cache, its gradient's keys are ragged or dense.
void make_backward(Case& c) {
  c.direction = "backward";
  c.lse = true;
  if (c.kv != "paged") return;
  c.page_size = 0;
  c.layout = "page_head_dim";
  c.kv = c.q;
}

}  // namespace

const std::vector<std::string>& feature_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> list;
    for (const Feature& f : kFeatures) list.emplace_back(f.name);
    return list;
  }();
  return names;
}

Features features_of(const Case& c) {
  static_assert(kCount <= 64);
  Features features;
  for (std::size_t n = 0; n < kCount; ++n) features[n] = kFeatures[n].has(c);
  return features;
}

bool legal_pair(std::size_t a, std::size_t b) {
  const Feature& x = kFeatures[std::min(a, b)];
  const Feature& y = kFeatures[std::max(a, b)];
  const auto are = [&](const std::string& first, const std::string& second) {
    return x.name == first && y.name == second;
  };
  if (a == b || (*x.axis != 0 && std::string(x.axis) == y.axis)) return false;
  if (are("fp32", "fp32_out") || are("q_lens", "kv_ragged")) return false;
  const bool dense_only = std::string(y.name) == "cache_row" || std::string(y.name) == "left_pad";
  return !(dense_only && std::string(x.axis) == "kv");
}

Coverage::Coverage() : pairs_(kCount, std::vector<Int>(kCount)) {}

void Coverage::add(const Case& c) {
  const Features features = features_of(c);
  for (std::size_t a = 0; a < kCount; ++a) {
    for (std::size_t b = 0; b < kCount; ++b) pairs_[a][b] += features[a] && features[b];
  }
  ++problems_;
}

std::int64_t Coverage::count(const std::string& feature) const {
  const std::size_t n = index_of(feature);
  return pairs_[n][n];
}

double Coverage::long_share() const {
  const auto all = static_cast<double>(std::max<Int>(problems_, 1));
  return static_cast<double>(count("kv_len_over_384")) / all;
}

double Coverage::wide_share() const {
  const auto all = static_cast<double>(std::max<Int>(problems_, 1));
  return static_cast<double>(count("head_dim_over_128")) / all;
}

Case Generator::draw() {
  Case c;
  draw_types(random_, c);
  draw_sizes(random_, c);
  keep_small(random_, c);
  draw_places(random_, c);
  draw_mask(random_, c);
  draw_scores(random_, c);
  if (direction_ == "backward") make_backward(c);
  return c;
}

Case Generator::next(const Coverage& coverage) {
  constexpr int kDraws = 4;
  Case best;
  double best_worth = -1;
  for (int n = 0; n < kDraws; ++n) {
    const Case c = draw();
    const Features features = features_of(c);
    double worth = 0;
    for (std::size_t a = 0; a < kCount; ++a) {
      for (std::size_t b = 0; features[a] && b < a; ++b) {
        if (features[b]) worth += 1 / static_cast<double>(1 + coverage.count(a, b));
      }
    }
    if (worth > best_worth) best = c;
    best_worth = std::max(worth, best_worth);
  }
  return best;
}

}  // namespace rapt::kit
