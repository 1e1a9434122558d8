// SPDX-License-Identifier: Apache-2.0 OR MIT
// What measurements on every backend share: which kernel would run, and a row from its times.
#pragma once
#include <string>
#include <vector>

#include "bench/measure.h"

namespace rapt::bench {

// The kernel's name, or the sentences of all that refused.
rapt_status choose_kernel(const rapt_attention& problem, const rapt_options& options,
                          std::string& name);
rapt_status choose_kernel(const rapt_gradient& gradient, const rapt_options& options,
                          std::string& name);

Outcome refused(rapt_status status, const std::string& sentence);
Row empty_row(const Job& job, const std::string& kernel, int threads);
void fill_times(std::vector<double> seconds, Row& row);
void fill_verdict(const kit::Verdict& verdict, Row& row);

}  // namespace rapt::bench
