// SPDX-License-Identifier: Apache-2.0 OR MIT
// One case put through the library in both ways, attend and plan / upload / run, and judged.
#pragma once
#include <cstdint>
#include <functional>
#include <string>

#include "kit/case.h"
#include "kit/workload.h"
#include "rapt/rapt.h"

namespace rapt::kit {

struct Attempt {
  rapt_status status = RAPT_OK;  // of the library; its sentence is the verdict's
  Verdict verdict;

  // The library does not take the problem, and says so: neither passed nor failed.
  [[nodiscard]] bool refused() const { return status == RAPT_UNSUPPORTED; }
};

// Computes and compares with the oracle (`rows` sampled rows a head, 0 = all); a planned run must
// give the same bits. The tensors are where the options want them. An absent device answers
// RAPT_UNSUPPORTED, one that fails RAPT_DEVICE_ERROR; such a device is of no more use to this
// process.
Attempt attempt(const Case& c, const rapt_options& options, std::int64_t rows = 0);

// The same with tensors at `place`.
Attempt attempt_at(Place place, const Case& c, const rapt_options& options, std::int64_t rows = 0);

// A simpler case that still fails: features dropped and sizes halved as long as `fails` says so, in
// at most `budget` tries.
Case minimise(Case c, const std::function<bool(const Case&)>& fails, int budget);

}  // namespace rapt::kit
