// SPDX-License-Identifier: Apache-2.0 OR MIT
// The verdict on gradients: held against the oracle's, by the error of a plain backward in FP32
// that is given the same out, lse and d_out (docs/numerics.md).
#include <algorithm>
#include <cmath>
#include <functional>

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

constexpr int kMostDraws = 48;

// One gradient, as it must be and as it is; `width` elements a row.
struct Field {
  const char* name;
  const rapt_tensor& tensor;
  double factor;  // that the yardstick's sums lack
  const Array& right;
  const Array& ours;
  Int width;
};

class GradientJudge {
 public:
  explicit GradientJudge(const rapt_gradient& gradient)
      : g_(gradient),
        p_(*gradient.forward),
        model_(gather_model(p_)),
        dropped_(256 / static_cast<double>(model_.dropout_keep)),
        shared_(oracle::zero_gradient(model_, {})),
        shared_draws_(kMostDraws, zeros_like(shared_)) {}

  Verdict run(const Sample& sample) {
    for (const Int b : spread(batch_of(p_), sample.sequences)) judge_sequence(b, sample);
    if (sample.rows == 0 && sample.sequences == 0 && !any_poison_) judge_shared();
    verdict_.passed = verdict_.sentence.empty();
    return verdict_;
  }

 private:
  void judge_sequence(Int b, const Sample& sample) {
    from_ = gather(p_, b);
    rows_ = spread(from_.sequence.q_len, sample.rows);
    poisoned_ = !seen_keys_are_finite(model_, from_.sequence);
    any_poison_ = any_poison_ || poisoned_;
    in_ = {gather_rows(p_, from_, p_.out), gather_rows(p_, from_, g_.d_out), gather_lse(p_, from_)};
    const oracle::Gradient right = oracle_gradient();
    draws_.clear();
    const int draws = draws_for(keys_a_head());
    for (int n = 0; n < draws; ++n) draws_.push_back(draw(n, right));
    add_shared();
    judge_rows(right);
    if (sample.rows == 0) judge_keys(right);
    judge_padding();
  }

  // Of this sequence; what sequences share is added to shared_.
  oracle::Gradient oracle_gradient() {
    oracle::Gradient g = oracle::zero_gradient(model_, from_.sequence);
    std::swap(g.d_bias, shared_.d_bias);
    std::swap(g.d_sinks, shared_.d_sinks);
    std::swap(g.d_slopes, shared_.d_slopes);
    for (const Int i : rows_) {
      for (Int h = 0; h < model_.q_heads; ++h) {
        const double* d_out = in_.d_out.data() + (i * model_.q_heads + h) * model_.value_dim;
        oracle::backward_row(model_, from_.sequence, h, i, d_out, g);
      }
    }
    std::swap(g.d_bias, shared_.d_bias);
    std::swap(g.d_sinks, shared_.d_sinks);
    std::swap(g.d_slopes, shared_.d_slopes);
    return g;
  }

  [[nodiscard]] double keys_a_head() const {
    double keys = 0;
    for (const Int i : rows_) {
      for (Int h = 0; h < model_.q_heads; ++h) {
        keys += oracle::forward(model_, from_.sequence, h, i).keys;
      }
    }
    return keys / static_cast<double>(model_.q_heads);
  }

  // Draws begin with another row.
  [[nodiscard]] YardstickGradient draw(int n, const oracle::Gradient& right) const {
    YardstickGradient sums = zeros_like(right);
    sums.d_bias.resize(shared_.d_bias.size());
    sums.d_sinks.resize(shared_.d_sinks.size());
    sums.d_slopes.resize(shared_.d_slopes.size());
    const Int group = model_.q_heads / model_.kv_heads;
    const auto count = static_cast<Int>(rows_.size());
    for (Int kv_head = 0; kv_head < model_.kv_heads; ++kv_head) {
      const GradientYardstick yardstick(model_, from_.sequence, in_, kv_head, p_.q.dtype);
      for (Int row = 0; row < count; ++row) {
        const Int i = rows_[static_cast<std::size_t>((row + n * 5) % count)];
        for (Int h = kv_head * group; h < (kv_head + 1) * group; ++h) {
          yardstick.add_row(h, i, n, sums);
        }
      }
    }
    return sums;
  }

  void add_shared() {
    const auto add = [](Floats& to, const Floats& from) {
      std::transform(to.begin(), to.end(), from.begin(), to.begin(), std::plus<>());
    };
    for (std::size_t n = 0; n < shared_draws_.size(); ++n) {
      const YardstickGradient& from = draws_[n % draws_.size()];
      add(shared_draws_[n].d_bias, from.d_bias);
      add(shared_draws_[n].d_sinks, from.d_sinks);
      add(shared_draws_[n].d_slopes, from.d_slopes);
    }
  }

  void judge_rows(const oracle::Gradient& right) {
    const Array ours = gather_rows(p_, from_, g_.dq);
    const Field dq{"dq", g_.dq, model_.scale, right.dq, ours, model_.head_dim};
    for (Int h = 0; h < model_.q_heads; ++h) {
      std::vector<Int> of_head;
      for (const Int i : rows_) of_head.push_back(i * model_.q_heads + h);
      judge_field(dq, of_head, model_.q_heads, &YardstickGradient::dq, draws_);
    }
  }

  void judge_keys(const oracle::Gradient& right) {
    const Array dk = gather_keys(p_, from_, g_.dk), dv = gather_keys(p_, from_, g_.dv);
    const Field fields[] = {{"dk", g_.dk, model_.scale, right.dk, dk, model_.head_dim},
                            {"dv", g_.dv, 1, right.dv, dv, model_.value_dim}};
    for (Int h = 0; h < model_.kv_heads; ++h) {
      std::vector<Int> of_head;
      for (Int j = 0; j < from_.sequence.kv_len; ++j) of_head.push_back(j * model_.kv_heads + h);
      judge_field(fields[0], of_head, model_.kv_heads, &YardstickGradient::dk, draws_);
      judge_field(fields[1], of_head, model_.kv_heads, &YardstickGradient::dv, draws_);
    }
  }

  // What all sequences add to, each as one.
  void judge_shared() {
    from_.sequence.index = 0;
    poisoned_ = false;
    const auto judge_all = [&](const char* name, const rapt_tensor& tensor, const Array& right,
                               const Array& ours, Floats YardstickGradient::* yard) {
      std::vector<Int> all;
      for (Int n = 0; n < static_cast<Int>(right.size()); ++n) all.push_back(n);
      judge_field({name, tensor, 1, right, ours, 1}, all, 1, yard, shared_draws_);
    };
    if (g_.d_bias.dtype != RAPT_NONE) {
      const Array ours = gather_like_bias(g_.d_bias);
      judge_all("d_bias", g_.d_bias, shared_.d_bias, ours, &YardstickGradient::d_bias);
    }
    if (g_.d_sinks.dtype != RAPT_NONE) {
      const Array ours = gather_heads(g_.d_sinks);
      judge_all("d_sinks", g_.d_sinks, shared_.d_sinks, ours, &YardstickGradient::d_sinks);
    }
    if (g_.d_slopes.dtype != RAPT_NONE) {
      const Array ours = gather_heads(g_.d_slopes);
      judge_all("d_slopes", g_.d_slopes, shared_.d_slopes, ours, &YardstickGradient::d_slopes);
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
        const std::string where =
            std::string(f.name) + ": sequence " + std::to_string(from_.sequence.index) + ", head " +
            std::to_string(row % heads) + ", row " + std::to_string(row / heads);
        if (!is_number(where, f.right[n], f.ours[n])) continue;
        add_error(errors, where, f.right[n], f.ours[n]);
        largest = std::max(largest, std::fabs(f.right[n]));
        compared.push_back(n);
      }
    }
    errors.floor = 2 * ulp(f.tensor.dtype, largest) + 0x1p-120 * dropped_;
    for (const YardstickGradient& draw : draws) {
      Error error;
      for (const std::size_t n : compared) {
        const float sum = (draw.*yard)[n] * static_cast<float>(f.factor);
        error.add(static_cast<double>(round_to(f.tensor.dtype, sum)) - f.right[n]);
      }
      errors.add_yardstick(error);
    }
    const std::string head = rows.empty() ? "0" : std::to_string(rows[0] % heads);
    judge(errors, static_cast<Int>(rows.size()),
          std::string(f.name) + ": sequence " + std::to_string(from_.sequence.index) + ", head " +
              head,
          verdict_);
  }

  // True where there are numbers to compare. Where the oracle's is none, ours may not be one.
  bool is_number(const std::string& where, double right, double ours) {
    if (std::isfinite(right) && std::isfinite(ours)) return true;
    if (std::isfinite(ours)) {
      if (model_.dropout_keep < 256) return false;  // what is dropped is 0, whatever it was
      verdict_.fail(where + " is finite, and a NaN or infinity that it depends on is lost");
    } else if (std::isfinite(right) && !poisoned_) {
      verdict_.fail(where + format(" is %g, should be %g", ours, right, 0));
    }
    return false;
  }

  static void add_error(Errors& errors, const std::string& where, double right, double ours) {
    if (std::fabs(ours - right) > errors.ours.max || errors.where.empty()) {
      errors.where = where + format(" is %.9g, should be %.9g", ours, right, 0);
    }
    errors.ours.add(ours - right);
  }

  // Rows behind a sequence's used length have no gradient.
  void judge_padding() {
    Gathered rest = from_;
    rest.sequence.q_len = from_.q_rows;
    const Array all = gather_rows(p_, rest, g_.dq);
    const Int used = from_.sequence.q_len * model_.q_heads * model_.head_dim;
    if (!std::all_of(all.begin() + used, all.end(), [](double x) { return x == 0; })) {
      verdict_.fail("dq: sequence " + std::to_string(from_.sequence.index) +
                    " has padding rows that are not 0");
    }
  }

  const rapt_gradient& g_;
  const rapt_attention& p_;
  oracle::Model model_;
  double dropped_;
  Gathered from_;
  GradientInputs in_;
  std::vector<Int> rows_;
  std::vector<YardstickGradient> draws_;
  bool poisoned_ = false, any_poison_ = false;
  oracle::Gradient shared_;
  std::vector<YardstickGradient> shared_draws_;
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

Verdict check_gradient(const rapt_gradient& gradient, const Sample& sample) {
  return GradientJudge(gradient).run(sample);
}

Verdict check_gradient(const Workload& workload, const Sample& sample) {
  const std::string stray = workload.stray_writes();
  if (!stray.empty()) return {false, 0, INFINITY, stray};
  const rapt_gradient& g = workload.host_gradient();
  Verdict verdict = check_gradient(g, sample);
  const bool numbers = workload.spec().values != "nan" && workload.spec().values != "inf";
  for (const auto& [name, tensor] : {std::pair{"dk", &g.dk}, {"dv", &g.dv}}) {
    if (numbers && has_nan(*tensor)) verdict.fail(std::string(name) + ": holds NaN");
  }
  verdict.passed = verdict.sentence.empty();
  return verdict;
}

}  // namespace rapt::kit
