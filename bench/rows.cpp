// SPDX-License-Identifier: Apache-2.0 OR MIT
// Rows of a report, piece by piece.
#include "bench/rows.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace rapt::bench {
namespace {

std::string refusals(const nlohmann::json& answer) {
  std::string all;
  for (const auto& refused : answer.at("refused")) {
    all += (all.empty() ? "" : "; ") + refused.at("kernel").get<std::string>() + ": " +
           refused.at("sentence").get<std::string>();
  }
  return all;
}

// `explain(text, capacity, needed)` is one of the library's two.
template <class Explain>
rapt_status read_choice(Explain explain, std::string& name) {
  std::size_t needed = 0;
  explain(nullptr, 0, &needed);
  std::string text(std::max<std::size_t>(needed, 1), '\0');
  const rapt_status status = explain(text.data(), text.size(), &needed);
  name = rapt_error_message();
  if (status != RAPT_OK) return status;
  const auto answer = nlohmann::json::parse(text.c_str());
  const bool chosen = answer.at("chosen").is_string();
  name = chosen ? answer.at("chosen").get<std::string>() : refusals(answer);
  return chosen ? RAPT_OK : RAPT_UNSUPPORTED;
}

}  // namespace

rapt_status choose_kernel(const rapt_attention& problem, const rapt_options& options,
                          std::string& name) {
  return read_choice(
      [&](char* text, std::size_t capacity, std::size_t* needed) {
        return rapt_explain(&problem, &options, text, capacity, needed);
      },
      name);
}

rapt_status choose_kernel(const rapt_gradient& gradient, const rapt_options& options,
                          std::string& name) {
  return read_choice(
      [&](char* text, std::size_t capacity, std::size_t* needed) {
        return rapt_explain_backward(&gradient, &options, text, capacity, needed);
      },
      name);
}

Outcome refused(rapt_status status, const std::string& sentence) { return {status, sentence, {}}; }

Row empty_row(const Job& job, const std::string& kernel, int threads) {
  Row row;
  row.label = job.label;
  row.spec = job.spec;
  row.kernel = kernel;
  row.backend = kernel.substr(0, kernel.find('/'));
  row.threads = threads;
  return row;
}

void fill_times(std::vector<double> times, Row& row) {
  std::sort(times.begin(), times.end());
  const std::size_t half = times.size() / 2;
  const double median = times.size() % 2 == 1 ? times[half] : (times[half - 1] + times[half]) / 2;
  row.median_us = median * 1e6;
  row.min_us = times.front() * 1e6;
  row.gflops = counted_flops(row.spec) / median * 1e-9;
  row.gbps = kit::case_bytes(row.spec) / median * 1e-9;
}

void fill_verdict(const kit::Verdict& verdict, Row& row) {
  row.checked = verdict.passed;
  row.error = verdict.max_error;
  row.sentence = verdict.sentence;
}

}  // namespace rapt::bench
