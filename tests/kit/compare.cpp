// SPDX-License-Identifier: Apache-2.0 OR MIT
// The comparison, head by head: what must be exact first (NaN, empty rows, padding), then the
// errors.
#include "kit/compare.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kit/errors.h"
#include "kit/gather.h"
#include "kit/numbers.h"
#include "kit/oracle.h"
#include "kit/yardstick.h"

namespace rapt::kit {
namespace {

using oracle::Int;

// Judges the heads of one problem into a verdict.
class Judge {
 public:
  explicit Judge(const rapt_attention& problem)
      : problem_(problem),
        model_(gather_model(problem)),
        has_lse_(problem.lse.dtype != RAPT_NONE) {}

  Verdict run(const Sample& sample) {
    for (const Int b : spread(batch_of(problem_), sample.sequences)) {
      from_ = gather(problem_, b);
      judge_padding();
      rows_ = spread(from_.sequence.q_len, sample.rows);
      poisoned_ = !seen_keys_are_finite(model_, from_.sequence);
      const Int group = model_.q_heads / model_.kv_heads;
      for (const Int kv_head : spread(model_.kv_heads, sample.kv_heads)) {
        const Yardstick yardstick(model_, from_.sequence, kv_head, problem_.q.dtype,
                                  problem_.out.dtype);
        for (Int h = kv_head * group; h < (kv_head + 1) * group; ++h) judge_head(yardstick, h);
      }
    }
    verdict_.passed = verdict_.sentence.empty();
    return verdict_;
  }

 private:
  // Row `row` of the head's chosen rows in all three ways of computing it.
  struct Truth {
    Int i;
    oracle::Row oracle, ours;
  };

  void fail(const std::string& sentence) { verdict_.fail(sentence); }

  [[nodiscard]] std::string where(const char* field, Int head, Int i) const {
    return std::string(field) + ": sequence " + std::to_string(from_.sequence.index) + ", head " +
           std::to_string(head) + ", query " + std::to_string(i);
  }

  // Rows behind a sequence's used length.
  void judge_padding() {
    for (Int i = from_.sequence.q_len; i < from_.q_rows; ++i) {
      for (Int h = 0; h < model_.q_heads; ++h)
        judge_empty(h, i, gather_answer(problem_, from_, h, i));
    }
  }

  void judge_empty(Int head, Int i, const oracle::Row& ours) {
    const bool zero =
        std::all_of(ours.out.begin(), ours.out.end(), [](double x) { return x == 0; });
    if (!zero) fail(where("out", head, i) + " sees no key and is not 0");
    if (has_lse_ && ours.lse != -INFINITY)
      fail(where("lse", head, i) + " sees no key and is not -inf");
  }

  void judge_head(const Yardstick& yardstick, Int head) {
    std::vector<Truth> truths;
    Errors out{.field = "out"}, lse{.field = "lse"};
    double largest_out = 0, largest_lse = 0;
    for (const Int i : rows_) {
      Truth t{i, oracle::forward(model_, from_.sequence, head, i),
              gather_answer(problem_, from_, head, i)};
      if (t.oracle.lse == -INFINITY) {
        if (!poisoned_) judge_empty(head, i, t.ours);
        continue;
      }
      if (!judge_finite(head, t)) continue;
      add_errors(head, t, out, lse);
      for (const double x : t.oracle.out) largest_out = std::max(largest_out, std::fabs(x));
      largest_lse = std::max(largest_lse, std::fabs(t.oracle.lse));
      truths.push_back(std::move(t));
    }
    out.floor = 2 * ulp(problem_.out.dtype, largest_out) + underflow();
    lse.floor = lse_ulps() * ulp(RAPT_FP32, std::max(largest_lse, 1.0));
    measure(yardstick, head, truths, out, lse);
    judge_errors(head, out);
    if (has_lse_) judge_errors(head, lse);
  }

  // What exponentials that vanish below FP32's least normal number can take from an output.
  [[nodiscard]] double underflow() const {
    double largest = 0;
    for (const double x : from_.sequence.v) {
      if (std::isfinite(x)) largest = std::max(largest, std::fabs(x));
    }
    const double dropped = 256 / static_cast<double>(model_.dropout_keep);
    return 0x1p-126 * dropped * largest * static_cast<double>(from_.sequence.kv_len);
  }

  // True where the row has numbers to compare. Where the oracle's are not finite, ours may not be
  // either; where they are, ours must be unless a NaN is about in this sequence.
  bool judge_finite(Int head, const Truth& t) {
    bool all = true;
    const auto judge = [&](const char* field, double right, double ours) {
      if (std::isfinite(right) && std::isfinite(ours)) return;
      all = false;
      if (!std::isfinite(right) && std::isfinite(ours)) {
        fail(where(field, head, t.i) + " is finite, and a NaN or infinity that it sees is lost");
      } else if (std::isfinite(right) && !poisoned_) {
        fail(where(field, head, t.i) +
             format(" is %g, should be %g", std::isnan(ours) ? std::fabs(ours) : ours, right, 0));
      }
    };
    for (std::size_t d = 0; d < t.ours.out.size(); ++d)
      judge("out", t.oracle.out[d], t.ours.out[d]);
    if (has_lse_) judge("lse", t.oracle.lse, t.ours.lse);
    return all;
  }

  // Tensor cores cut off a little with every 16 dimensions of a score: docs/numerics.md.
  [[nodiscard]] double lse_ulps() const {
    if (problem_.q.dtype == RAPT_FP32) return 4;
    return 8 + static_cast<double>(problem_.q.shape[problem_.q.rank - 1]) / 16;
  }

  void add_errors(Int head, const Truth& t, Errors& out, Errors& lse) {
    const auto add = [&](Errors& errors, double right, double ours) {
      if (std::fabs(ours - right) > errors.ours.max || errors.where.empty()) {
        errors.where =
            where(errors.field, head, t.i) + format(" is %.9g, should be %.9g", ours, right, 0);
      }
      errors.ours.add(ours - right);
    };
    for (std::size_t d = 0; d < t.ours.out.size(); ++d) add(out, t.oracle.out[d], t.ours.out[d]);
    if (has_lse_) add(lse, t.oracle.lse, t.ours.lse);
  }

  void measure(const Yardstick& yardstick, Int head, const std::vector<Truth>& truths, Errors& out,
               Errors& lse) const {
    double keys = 0;
    for (const Truth& t : truths) keys += t.oracle.keys;
    const int draws = draws_for(keys);
    for (int draw = 0; draw < draws; ++draw) {
      Error out_error, lse_error;
      for (const Truth& t : truths) {
        const YardstickRow row = yardstick.row(head, t.i, draw);
        for (std::size_t d = 0; d < row.out.size(); ++d)
          out_error.add(row.out[d] - t.oracle.out[d]);
        lse_error.add(row.lse - t.oracle.lse);
      }
      out.add_yardstick(out_error);
      lse.add_yardstick(lse_error);
    }
  }

  void judge_errors(Int head, const Errors& e) {
    const std::string of = std::string(e.field) + ": sequence " +
                           std::to_string(from_.sequence.index) + ", head " + std::to_string(head);
    judge(e, static_cast<Int>(rows_.size()), of, verdict_);
  }

  const rapt_attention& problem_;
  oracle::Model model_;
  bool has_lse_;
  Gathered from_;
  std::vector<Int> rows_;
  bool poisoned_ = false;
  Verdict verdict_;
};

}  // namespace

Verdict check(const rapt_attention& problem, const Sample& sample) {
  return Judge(problem).run(sample);
}

Verdict check(const Workload& workload, const Sample& sample) {
  const std::string stray = workload.stray_writes();
  if (!stray.empty()) return {false, 0, INFINITY, stray};
  return check(workload.host_attention(), sample);
}

}  // namespace rapt::kit
