// SPDX-License-Identifier: Apache-2.0 OR MIT
// Which chart a report becomes, and its words.
#include <algorithm>
#include <cctype>

#include "bench/chart.h"
#include "bench/machine.h"
#include "bench/report.h"
#include "bench/text.h"

namespace rapt::bench {
namespace {

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

std::string threads_in_words(int threads) {
  return threads == 1 ? "one thread" : std::to_string(threads) + " threads";
}

std::string footnote() {
  const Machine machine = this_machine();
  return "rapt " + std::to_string(RAPT_VERSION_MAJOR) + "." + std::to_string(RAPT_VERSION_MINOR) +
         "." + std::to_string(RAPT_VERSION_PATCH) + ", " + this_commit().substr(0, 12) + "  ·  " +
         machine.name + "  ·  every answer checked against float64";
}

std::string rate(const Row& row, Bound bound) {
  return bound == Bound::compute ? decimals(row.gflops, row.gflops < 99.5 ? 1 : 0) + " GFLOP/s"
                                 : decimals(row.gbps, 1) + " GB/s";
}

BarChart share_chart(const Report& report) {
  const bool compute = report.suite.bound == Bound::compute;
  BarChart chart;
  chart.title = report.suite.title;
  chart.subtitle = compute ? "100% = multiply-adds alone, measured in the same run"
                           : "100% = reading memory alone, measured in the same run";
  chart.axis = compute ? "share of peak, longer is better" : "share of bandwidth, longer is better";
  chart.reference = compute ? "measured peak" : "measured bandwidth";
  chart.footnote = footnote();
  for (const Row& row : report.rows) {
    if (!row.share) continue;
    chart.bars.push_back({row.label, *row.share, rate(row, report.suite.bound),
                          upper(rapt_dtype_name(row.spec.dtype))});
  }
  return chart;
}

BarChart relative_chart(const Report& report) {
  BarChart chart;
  chart.title = report.suite.title;
  chart.subtitle = report.suite.summary;
  chart.axis = "rate a visible score, longer is better";
  chart.reference = "plain";
  chart.footnote = footnote();
  for (const Row& row : report.rows) {
    if (!row.checked) continue;
    chart.bars.push_back({row.label, row.speedup.value_or(1), duration(row.median_us), ""});
  }
  return chart;
}

// Rows of rapt (plain = false) or of its peer as two lines: time and memory.
void add_series(const Report& report, bool plain, Panel& time, Panel& memory) {
  const std::string name = plain ? "plain" : "rapt";
  Series times{name, {}, ""};
  Series sizes{name, {}, ""};
  for (const Row& row : report.rows) {
    if (!row.checked || (row.backend == "plain") != plain) continue;
    const auto length = static_cast<double>(row.spec.q_len);
    times.points.emplace_back(length, row.median_us * 1e-3);
    times.last = duration(row.median_us);
    if (!row.peak_bytes) continue;
    // A page or two is below what the system's accounts can tell: drawn at 0.1 MB.
    const double bytes = std::max(static_cast<double>(*row.peak_bytes), 1e5);
    sizes.points.emplace_back(length, bytes * 1e-6);
    sizes.last = memory_size(bytes);
  }
  if (!times.points.empty()) time.series.push_back(times);
  if (!sizes.points.empty()) memory.series.push_back(sizes);
}

LineChart growth_chart(const Report& report) {
  LineChart chart;
  Panel time{"Time, ms", {}};
  Panel memory{"Memory beyond the tensors, MB", {}};
  for (const bool plain : {false, true}) add_series(report, plain, time, memory);
  const int threads = report.rows.empty() ? 1 : report.rows.front().threads;
  chart.title = report.suite.title;
  chart.subtitle = "FP32, one head, D64, " + threads_in_words(threads) +
                   "; plain = softmax(QKᵀ)V with its scores in memory; lower is better";
  chart.axis = "queries and keys";
  chart.footnote = footnote();
  for (const Panel& panel : {time, memory}) {
    if (!panel.series.empty()) chart.panels.push_back(panel);
  }
  return chart;
}

}  // namespace

std::string as_svg(const Report& report) {
  if (report.suite.chart == Chart::growth) return draw(growth_chart(report));
  return draw(report.suite.chart == Chart::relative ? relative_chart(report) : share_chart(report));
}

}  // namespace rapt::bench
