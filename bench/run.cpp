// SPDX-License-Identifier: Apache-2.0 OR MIT
// Runs a suite: measures each entry, then relates its row to a ceiling and to its peer.
#include <algorithm>

#include "bench/cuda.h"
#include "bench/report.h"

namespace rapt::bench {
namespace {

std::string progress(const Report& report, std::size_t entry, const std::string& what) {
  return "[" + std::to_string(entry + 1) + "/" + std::to_string(report.suite.entries.size()) +
         "] " + what;
}

bool on_cuda(const Row& row) { return row.backend == "cuda"; }

// Ceilings of this row's device, or instruction set and threads, measured when the first such row
// asks.
const Ceilings& ceilings_of(const Row& row, Report& report, const Tell& tell) {
  const std::string isa = isa_of_kernel(row.kernel);
  for (const Ceilings& known : report.ceilings) {
    const bool same = on_cuda(row) ? !known.device.empty() : known.isa == isa;
    if (same && known.threads == row.threads) return known;
  }
  tell("measuring the ceilings of " + (on_cuda(row) ? "the device" : isa));
  return report.ceilings.emplace_back(on_cuda(row) ? measure_cuda_ceilings()
                                                   : measure_ceilings(isa, row.threads));
}

void relate_to_ceiling(Row& row, Report& report, const Tell& tell) {
  if (isa_of_kernel(row.kernel).empty() && !on_cuda(row)) return;
  const Ceilings& ceilings = ceilings_of(row, report, tell);
  const bool compute = report.suite.bound == Bound::compute;
  const double rate = compute ? row.gflops : row.gbps;
  double most = compute ? peak_gflops(ceilings, row.spec.dtype) : ceilings.read_gbps;
  if (compute && !on_cuda(row)) most = measure_peak(ceilings, row.spec.dtype);
  if (most <= 0 || !row.checked) return;
  row.ceiling = most;
  row.share = rate / most;
}

// Operations on scores that the mask leaves visible, a second: fair between masks and head sizes.
double visible_rate(const Row& row) { return kit::case_flops(row.spec) / row.median_us; }

// The peer's row is found by its label: refused entries have none.
void relate_to_peer(const Entry& entry, Row& row, const Report& report) {
  if (entry.peer < 0 || !row.checked) return;
  const Entry& peer = report.suite.entries[static_cast<std::size_t>(entry.peer)];
  const auto found = std::find_if(report.rows.begin(), report.rows.end(),
                                  [&](const Row& other) { return other.label == peer.label; });
  if (found == report.rows.end() || !found->checked) return;
  row.peer = peer.label;
  row.speedup = visible_rate(row) / visible_rate(*found);
}

void run_entry(const Entry& entry, const RunOptions& options, Report& report, const Tell& tell) {
  Job job;
  job.label = entry.label;
  job.backend = options.backend.empty() ? report.suite.backend : options.backend;
  job.threads = entry.threads > 0 ? entry.threads : options.threads;
  job.repeat = options.repeat;
  job.plain = entry.plain;
  job.alone = entry.alone;
  const std::string wrong = kit::parse_case(entry.text, job.spec);
  Outcome outcome{RAPT_INVALID_ARGUMENT, wrong, {}};
  if (wrong.empty()) outcome = measure(job, tell);
  if (outcome.status != RAPT_OK) {
    report.refusals.push_back({entry.label, entry.text, outcome.status, outcome.sentence});
    return;
  }
  relate_to_ceiling(outcome.row, report, tell);
  relate_to_peer(entry, outcome.row, report);
  report.rows.push_back(outcome.row);
}

}  // namespace

Report run_suite(const Suite& suite, const RunOptions& options, const Tell& tell) {
  Report report;
  report.suite = suite;
  for (std::size_t i = 0; i < suite.entries.size(); ++i) {
    const auto tell_entry = [&](const std::string& what) { tell(progress(report, i, what)); };
    run_entry(suite.entries[i], options, report, tell_entry);
  }
  return report;
}

}  // namespace rapt::bench
