// SPDX-License-Identifier: Apache-2.0 OR MIT
// The rules of a verdict.
#include "kit/errors.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace rapt::kit {
namespace {

// How much larger than the yardstick's our RMS error over so many rows may be. That of few rows is
// not yet an average: it scatters as 1 / sqrt(rows), and one row is held to the factor of the
// largest error, 2.
double rms_factor(Int rows) {
  constexpr Int kAverage = 64;
  return rows >= kAverage ? 1.3
                          : 1.3 + 0.7 / std::sqrt(static_cast<double>(std::max<Int>(rows, 1)));
}

}  // namespace

int draws_for(double keys) {
  constexpr double kEnough = 16384;
  return static_cast<int>(std::clamp(kEnough / std::max(keys, 1.0), 1.0, 48.0));
}

void Error::add(double error) {
  max = std::max(max, std::fabs(error));
  squares += error * error;
  ++count;
}

double Error::rms() const { return count ? std::sqrt(squares / static_cast<double>(count)) : 0; }

void Errors::add_yardstick(const Error& error) {
  yard_max = std::max(yard_max, error.max);
  yard_rms = std::max(yard_rms, error.rms());
}

void judge(const Errors& e, Int rows, const std::string& of, Verdict& verdict) {
  if (e.ours.count == 0) return;
  const double most = std::max(2 * e.yard_max, e.floor);
  const double most_rms = std::max(rms_factor(rows) * e.yard_rms, e.floor);
  verdict.max_error = std::max(verdict.max_error, e.ours.max);
  if (e.ours.max > most) {
    verdict.fail(e.where + format("; error %.3g, allowed %.3g (yardstick %.3g)", e.ours.max, most,
                                  e.yard_max));
  } else if (e.ours.rms() > most_rms) {
    verdict.fail(of + format(": RMS error %.3g, allowed %.3g (yardstick %.3g)", e.ours.rms(),
                             most_rms, e.yard_rms));
  }
  if (e.ours.max > 0) {
    verdict.ratio = std::max({verdict.ratio, e.ours.max / most, e.ours.rms() / most_rms});
  }
}

// So many of [0, size), or all where wanted is 0: evenly spread, the last among them.
std::vector<Int> spread(Int size, Int wanted) {
  const Int count = wanted <= 0 ? size : std::min(wanted, size);
  std::vector<Int> chosen;
  for (Int n = 0; n < count; ++n) {
    chosen.push_back(count < 2 ? size - 1 : n * (size - 1) / (count - 1));
  }
  return chosen;
}

std::string format(const char* text, double a, double b, double c) {
  char line[200];
  std::snprintf(line, sizeof line, text, a, b, c);
  return line;
}

bool seen_keys_are_finite(const oracle::Model& model, const oracle::Sequence& s) {
  const auto finite = [](const oracle::Array& a, Int row, Int width) {
    const auto first = a.begin() + row * width;
    return std::all_of(first, first + width, [](double x) { return std::isfinite(x); });
  };
  for (Int j = 0; j < s.kv_len; ++j) {
    if (finite(s.k, j, model.kv_heads * model.head_dim) &&
        finite(s.v, j, model.kv_heads * model.value_dim)) {
      continue;
    }
    for (Int i = 0; i < s.q_len; ++i) {
      if (oracle::sees(model, s, i, j)) return false;
    }
  }
  return true;
}

}  // namespace rapt::kit
