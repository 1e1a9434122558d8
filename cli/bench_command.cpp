// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt bench`: a suite or a case measured, as a table, JSON and a chart.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "bench/report.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/files.h"
#include "cli/manual.h"
#include "cli/progress.h"
#include "kit/case.h"
#include "kit/device_memory.h"

namespace rapt::cli {
namespace {

struct BenchOptions {
  Where where;
  int repeat = 0;
  std::string suite;
  std::string text;
  std::string json;
  std::string plot;
  bool list = false;
};

bench::Suite chosen_suite(const BenchOptions& options) {
  if (options.suite.empty() == options.text.empty()) {
    throw Failure(kUsage, "bench: wanted one of --suite, --case and --list");
  }
  if (!options.text.empty()) {
    kit::Case spec;
    const std::string wrong = kit::parse_case(options.text, spec);
    if (!wrong.empty()) throw Failure(kUsage, wrong);
    return bench::suite_of_case(options.text);
  }
  const bench::Suite* suite = bench::find_suite(options.suite);
  if (suite == nullptr) {
    throw Failure(kUsage, "suite: \"" + options.suite + "\" is none; rapt bench --list names them");
  }
  return *suite;
}

std::string suite_list() {
  std::string text;
  for (const bench::Suite& suite : bench::suites()) {
    text += "  " + suite.name + std::string(17 - suite.name.size(), ' ') + suite.summary + "\n";
  }
  return text;
}

// A wrong answer is worse than a refused one.
int exit_of(const bench::Report& report) {
  const bool right = std::all_of(report.rows.begin(), report.rows.end(),
                                 [](const bench::Row& row) { return row.checked; });
  if (!right) return kWrong;
  return report.refusals.empty() ? kDone : exit_code(report.refusals.front().status);
}

// An absent device is one sentence, not one a row.
void require_device(const bench::Suite& suite, const Where& where) {
  rapt_options options = where.options();
  if (options.backend == nullptr && !suite.backend.empty()) options.backend = suite.backend.c_str();
  const std::string absent = kit::why_absent(kit::place_of(options));
  if (!absent.empty()) throw Failure(kUnsupported, absent);
}

bench::Report measured(const BenchOptions& options) {
  const bench::Suite suite = chosen_suite(options);
  require_device(suite, options.where);
  Progress progress;
  return bench::run_suite(suite, {options.where.backend, options.where.threads, options.repeat},
                          [&](const std::string& what) { progress.show(what); });
}

int run(const BenchOptions& options) {
  if (options.list) {
    std::fputs(suite_list().c_str(), stdout);
    return kDone;
  }
  const bench::Report report = measured(options);
  if (options.json != "-") std::fputs(bench::as_table(report).c_str(), stdout);
  if (!options.json.empty()) write_text(options.json, bench::as_json(report));
  if (!options.plot.empty()) write_text(options.plot, bench::as_svg(report));
  return exit_of(report);
}

void add_options(CLI::App& command, BenchOptions& options) {
  command.add_option("--suite", options.suite, "Measure this list of cases; see below")
      ->type_name("NAME");
  command.add_option("--case", options.text, "Measure this problem alone")
      ->type_name("\"KEY=VALUE ...\"");
  command.add_flag("--list", options.list, "List the suites and what they measure");
  command.add_option("--json", options.json, "Write the rows as JSON; - is standard output")
      ->type_name("FILE");
  command.add_option("--plot", options.plot, "Write a chart to this SVG file")->type_name("FILE");
  command.add_option("--repeat", options.repeat, "Timed runs a case [7 or more, for a second]")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  add_where(command, options.where);
}

}  // namespace

void add_bench(CLI::App& tool, int& exit) {
  CLI::App* command = tool.add_subcommand("bench", "Measure speed and memory of right answers");
  auto options = std::make_shared<BenchOptions>();
  add_options(*command, *options);
  command->footer("Suites:\n" + suite_list() +
                  R"(
Every answer is compared with float64 before it is timed, on sampled rows above 2048 keys. A share
is of the ceiling measured in the same run on as many threads: multiply-adds of the instruction
set in use, or bytes read from memory. One thread is pinned to its CPU. GFLOP/s count
2 (head_dim + value_dim) operations a score; a square causal problem has half of its scores.
Memory is the highest resident size of the process during the first run, beyond the one before it.
On CUDA, calls are planned and replayed as a graph (docs/cli.md); memory is the plan's workspace.

)" + manual::grammar() +
                  "\n" + manual::exit_codes());
  command->callback([options, &exit] { exit = run(*options); });
}

}  // namespace rapt::cli
