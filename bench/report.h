// SPDX-License-Identifier: Apache-2.0 OR MIT
// A whole run of a suite: its rows, the ceilings measured beside them, and what was refused; as a
// table, as JSON and as a chart.
#pragma once
#include <string>
#include <vector>

#include "bench/ceilings.h"
#include "bench/measure.h"
#include "bench/suites.h"

namespace rapt::bench {

struct Refusal {
  std::string label;
  std::string text;  // the case
  rapt_status status = RAPT_OK;
  std::string sentence;
};

struct Report {
  Suite suite;
  std::vector<Ceilings> ceilings;  // one for each instruction set and number of threads that ran
  std::vector<Row> rows;
  std::vector<Refusal> refusals;
};

struct RunOptions {
  std::string backend;
  int threads = 0;
  int repeat = 0;
};

// `text` that is not of the grammar is refused as RAPT_INVALID_ARGUMENT.
Report run_suite(const Suite& suite, const RunOptions& options, const Tell& tell);

std::string as_table(const Report& report);
std::string as_json(const Report& report);
std::string as_svg(const Report& report);

}  // namespace rapt::bench
