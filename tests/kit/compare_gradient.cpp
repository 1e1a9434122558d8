// SPDX-License-Identifier: Apache-2.0 OR MIT
// The verdict on gradients: held against the oracle's, by the error of a plain backward in FP32
// that is given the same out, lse and d_out (docs/numerics.md).
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>

#include "kit/compare.h"
#include "kit/errors.h"
#include "kit/gather.h"
#include "kit/gradient_yardstick.h"
#include "kit/numbers.h"
#include "kit/tensor.h"

namespace rapt::kit {
namespace {

using oracle::Array;
using Floats = std::vector<float>;

constexpr std::size_t kMostDraws = 48;

// One gradient, as it must be and as it is; `width` elements a row.
struct Field {
  const char* name;
  const rapt_tensor& tensor;
  double factor;  // that the yardstick's sums lack
  const Array& right;
  const Array& ours;
  Int width;
};

// One sequence: its gradient, and what the yardstick's draws say of it.
struct SequenceTruth {
  Gathered from;
  std::vector<Int> rows{};  // those of dq that are compared
  bool poisoned = false;
  oracle::Gradient right{};
  std::vector<YardstickGradient> draws{};
};

}  // namespace

struct GradientTruth::Parts {
  Sample sample;
  oracle::Model model;
  std::vector<SequenceTruth> sequences{};
  // What all sequences add to.
  oracle::Gradient shared{};
  std::vector<YardstickGradient> shared_draws{};

  [[nodiscard]] bool judges_shared() const {
    return sample.rows == 0 && sample.sequences == 0 &&
           std::none_of(sequences.begin(), sequences.end(),
                        [](const SequenceTruth& s) { return s.poisoned; });
  }
};

namespace {

// Computes the truth, a sequence at a time.
class Finder {
 public:
  Finder(const rapt_gradient& gradient, GradientTruth::Parts& truth)
      : g_(gradient), p_(*gradient.forward), truth_(truth), model_(truth.model) {}

  void run() {
    truth_.shared = oracle::zero_gradient(model_, {});
    truth_.shared_draws = {zeros_like(truth_.shared)};
    for (const Int b : spread(batch_of(p_), truth_.sample.sequences)) add_sequence(b);
  }

 private:
  void add_sequence(Int b) {
    SequenceTruth s{.from = gather(p_, b)};
    s.rows = spread(s.from.sequence.q_len, truth_.sample.rows);
    s.poisoned = !seen_keys_are_finite(model_, s.from.sequence);
    const GradientInputs in = {gather_rows(p_, s.from, p_.out), gather_rows(p_, s.from, g_.d_out),
                               gather_lse(p_, s.from)};
    s.right = oracle_gradient(s, in);
    const int draws = draws_for(keys_a_head(s));
    for (int n = 0; n < draws; ++n) s.draws.push_back(draw(s, in, n));
    add_shared(s);
    truth_.sequences.push_back(std::move(s));
  }

  void swap_shared(oracle::Gradient& g) {
    std::swap(g.d_bias, truth_.shared.d_bias);
    std::swap(g.d_sinks, truth_.shared.d_sinks);
    std::swap(g.d_slopes, truth_.shared.d_slopes);
  }

  // Of this sequence; what sequences share is added to the truth's.
  oracle::Gradient oracle_gradient(const SequenceTruth& s, const GradientInputs& in) {
    oracle::Gradient g = oracle::zero_gradient(model_, s.from.sequence);
    swap_shared(g);
    for (const Int i : s.rows) {
      for (Int h = 0; h < model_.q_heads; ++h) {
        const double* d_out = in.d_out.data() + (i * model_.q_heads + h) * model_.value_dim;
        oracle::backward_row(model_, s.from.sequence, h, i, d_out, g);
      }
    }
    swap_shared(g);
    return g;
  }

  [[nodiscard]] double keys_a_head(const SequenceTruth& s) const {
    double keys = 0;
    for (const Int i : s.rows) {
      for (Int h = 0; h < model_.q_heads; ++h) {
        keys += oracle::forward(model_, s.from.sequence, h, i).keys;
      }
    }
    return keys / static_cast<double>(model_.q_heads);
  }

  // Draws begin with another row.
  [[nodiscard]] YardstickGradient draw(const SequenceTruth& s, const GradientInputs& in,
                                       int n) const {
    YardstickGradient sums = zeros_like(s.right);
    sums.d_bias.resize(truth_.shared.d_bias.size());
    sums.d_sinks.resize(truth_.shared.d_sinks.size());
    sums.d_slopes.resize(truth_.shared.d_slopes.size());
    const Int group = model_.q_heads / model_.kv_heads;
    const auto count = static_cast<Int>(s.rows.size());
    for (Int kv_head = 0; kv_head < model_.kv_heads; ++kv_head) {
      const GradientYardstick yardstick(model_, s.from.sequence, in, kv_head, p_.q.dtype);
      for (Int row = 0; row < count; ++row) {
        const Int i = s.rows[static_cast<std::size_t>((row + n * 5) % count)];
        for (Int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
          yardstick.add_row(h, i, n, sums);
        }
      }
    }
    return sums;
  }

  // Draw n of what is shared is the sum of every sequence's draw n, counted round: as many as
  // differ.
  void add_shared(const SequenceTruth& s) {
    const auto add = [](Floats& to, const Floats& from) {
      std::transform(to.begin(), to.end(), from.begin(), to.begin(), std::plus<>());
    };
    std::vector<YardstickGradient>& sums = truth_.shared_draws;
    const std::size_t before = sums.size();
    const std::size_t count = std::min(kMostDraws, std::lcm(before, s.draws.size()));
    for (std::size_t n = before; n < count; ++n) sums.push_back(sums[n % before]);
    for (std::size_t n = 0; n < sums.size(); ++n) {
      const YardstickGradient& from = s.draws[n % s.draws.size()];
      add(sums[n].d_bias, from.d_bias);
      add(sums[n].d_sinks, from.d_sinks);
      add(sums[n].d_slopes, from.d_slopes);
    }
  }

  const rapt_gradient& g_;
  const rapt_attention& p_;
  GradientTruth::Parts& truth_;
  const oracle::Model& model_;
};

// Holds one answer against the truth.
class GradientJudge {
 public:
  GradientJudge(const GradientTruth::Parts& truth, const rapt_gradient& answer)
      : truth_(truth), model_(truth.model), g_(answer), p_(*answer.forward) {}

  Verdict run() {
    for (const SequenceTruth& s : truth_.sequences) {
      sequence_ = s.from.sequence.index;
      poisoned_ = s.poisoned;
      judge_rows(s);
      if (truth_.sample.rows == 0) judge_keys(s);
      judge_padding(s);
    }
    if (truth_.judges_shared()) judge_shared();
    verdict_.passed = verdict_.sentence.empty();
    return verdict_;
  }

 private:
  void judge_rows(const SequenceTruth& s) {
    const Array ours = gather_rows(p_, s.from, g_.dq);
    const Field dq{"dq", g_.dq, model_.scale, s.right.dq, ours, model_.head_dim};
    for (Int h = 0; h < model_.q_heads; ++h) {
      std::vector<Int> of_head;
      for (const Int i : s.rows) of_head.push_back(i * model_.q_heads + h);
      judge_field(dq, of_head, model_.q_heads, &YardstickGradient::dq, s.draws);
    }
  }

  void judge_keys(const SequenceTruth& s) {
    const Array dk = gather_keys(p_, s.from, g_.dk), dv = gather_keys(p_, s.from, g_.dv);
    const Field fields[] = {{"dk", g_.dk, model_.scale, s.right.dk, dk, model_.head_dim},
                            {"dv", g_.dv, 1, s.right.dv, dv, model_.value_dim}};
    for (Int h = 0; h < model_.kv_heads; ++h) {
      std::vector<Int> of_head;
      for (Int j = 0; j < s.from.sequence.kv_len; ++j) of_head.push_back(j * model_.kv_heads + h);
      judge_field(fields[0], of_head, model_.kv_heads, &YardstickGradient::dk, s.draws);
      judge_field(fields[1], of_head, model_.kv_heads, &YardstickGradient::dv, s.draws);
    }
  }

  // What all sequences add to, each as one.
  void judge_shared() {
    sequence_ = 0;
    const oracle::Gradient& right = truth_.shared;
    const auto judge_all = [&](const char* name, const rapt_tensor& tensor, const Array& wanted,
                               const Array& ours, Floats YardstickGradient::* yard) {
      std::vector<Int> all;
      for (Int n = 0; n < static_cast<Int>(wanted.size()); ++n) all.push_back(n);
      judge_field({name, tensor, 1, wanted, ours, 1}, all, 1, yard, truth_.shared_draws);
    };
    if (g_.d_bias.dtype != RAPT_NONE) {
      const Array ours = gather_like_bias(g_.d_bias);
      judge_all("d_bias", g_.d_bias, right.d_bias, ours, &YardstickGradient::d_bias);
    }
    if (g_.d_sinks.dtype != RAPT_NONE) {
      const Array ours = gather_heads(g_.d_sinks);
      judge_all("d_sinks", g_.d_sinks, right.d_sinks, ours, &YardstickGradient::d_sinks);
    }
    if (g_.d_slopes.dtype != RAPT_NONE) {
      const Array ours = gather_heads(g_.d_slopes);
      judge_all("d_slopes", g_.d_slopes, right.d_slopes, ours, &YardstickGradient::d_slopes);
    }
  }

  // Rows of the oracle's arrays, `heads` of them a token.
  void judge_field(const Field& f, const std::vector<Int>& rows, Int heads,
                   Floats YardstickGradient::* yard, const std::vector<YardstickGradient>& draws) {
    Errors errors{.field = f.name};
    std::vector<std::size_t> compared;
    double largest = 0;
    for (const Int row : rows) {
      for (Int d = 0; d < f.width; ++d) {
        const auto n = static_cast<std::size_t>(row * f.width + d);
        const auto where = [&] {
          return place_of(f.name, row % heads) + ", row " + std::to_string(row / heads);
        };
        if (!is_number(f.right[n], f.ours[n], where)) continue;
        add_error(errors, f.right[n], f.ours[n], where);
        largest = std::max(largest, std::fabs(f.right[n]));
        compared.push_back(n);
      }
    }
    errors.floor = 2 * ulp(f.tensor.dtype, largest) +
                   0x1p-120 * 256 / static_cast<double>(model_.dropout_keep);
    for (const YardstickGradient& draw : draws) {
      Error error;
      for (const std::size_t n : compared) {
        const float sum = (draw.*yard)[n] * static_cast<float>(f.factor);
        error.add(static_cast<double>(round_to(f.tensor.dtype, sum)) - f.right[n]);
      }
      errors.add_yardstick(error);
    }
    judge(errors, static_cast<Int>(rows.size()),
          place_of(f.name, rows.empty() ? 0 : rows[0] % heads), verdict_);
  }

  [[nodiscard]] std::string place_of(const char* field, Int head) const {
    return std::string(field) + ": sequence " + std::to_string(sequence_) + ", head " +
           std::to_string(head);
  }

  // True where there are numbers to compare. Where the oracle's is none, ours may not be one.
  template <class Where>
  bool is_number(double right, double ours, const Where& where) {
    if (std::isfinite(right) && std::isfinite(ours)) return true;
    if (std::isfinite(ours)) {
      if (model_.dropout_keep < 256) return false;  // what is dropped is 0, whatever it was
      verdict_.fail(where() + " is finite, and a NaN or infinity that it depends on is lost");
    } else if (std::isfinite(right) && !poisoned_) {
      verdict_.fail(where() + format(" is %g, should be %g", ours, right, 0));
    }
    return false;
  }

  template <class Where>
  static void add_error(Errors& errors, double right, double ours, const Where& where) {
    if (std::fabs(ours - right) > errors.ours.max || errors.where.empty()) {
      errors.where = where() + format(" is %.9g, should be %.9g", ours, right, 0);
    }
    errors.ours.add(ours - right);
  }

  // Rows behind a sequence's used length have no gradient.
  void judge_padding(const SequenceTruth& s) {
    Gathered rest = s.from;
    rest.sequence.q_len = s.from.q_rows;
    const Array all = gather_rows(p_, rest, g_.dq);
    const Int used = s.from.sequence.q_len * model_.q_heads * model_.head_dim;
    if (!std::all_of(all.begin() + used, all.end(), [](double x) { return x == 0; })) {
      verdict_.fail("dq: sequence " + std::to_string(sequence_) +
                    " has padding rows that are not 0");
    }
  }

  const GradientTruth::Parts& truth_;
  const oracle::Model& model_;
  const rapt_gradient& g_;
  const rapt_attention& p_;
  Int sequence_ = 0;
  bool poisoned_ = false;
  Verdict verdict_;
};

// A dense cache has rows that no sequence uses: their gradient is 0. Those that a sequence uses are
// compared with the oracle's, so it is enough that nothing stays poisoned.
bool has_nan(const rapt_tensor& t) {
  const Int width = t.shape[t.rank - 1];
  for (const Int offset : row_offsets(t)) {
    for (Int d = 0; d < width; ++d) {
      if (std::isnan(load(t.data, t.dtype, offset + d))) return true;
    }
  }
  return false;
}

}  // namespace

GradientTruth::GradientTruth(const rapt_gradient& gradient, const Sample& sample)
    : parts_(std::make_unique<Parts>(
          Parts{.sample = sample, .model = gather_model(*gradient.forward)})) {
  Finder(gradient, *parts_).run();
}

GradientTruth::~GradientTruth() = default;

Verdict GradientTruth::judge(const rapt_gradient& answer) const {
  return GradientJudge(*parts_, answer).run();
}

Verdict check_gradient(const Workload& workload, const GradientTruth& truth) {
  const std::string stray = workload.stray_writes();
  if (!stray.empty()) return {false, 0, INFINITY, stray};
  const rapt_gradient& g = workload.host_gradient();
  Verdict verdict = truth.judge(g);
  const bool numbers = workload.spec().values != "nan" && workload.spec().values != "inf";
  for (const auto& [name, tensor] : {std::pair{"dk", &g.dk}, {"dv", &g.dv}}) {
    if (numbers && has_nan(*tensor)) verdict.fail(std::string(name) + ": holds NaN");
  }
  verdict.passed = verdict.sentence.empty();
  return verdict;
}

Verdict check_gradient(const Workload& workload, const Sample& sample) {
  return check_gradient(workload, GradientTruth(workload.host_gradient(), sample));
}

}  // namespace rapt::kit
