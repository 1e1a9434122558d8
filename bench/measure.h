// SPDX-License-Identifier: Apache-2.0 OR MIT
// One measurement: a case computed, its answer held against the oracle, and only then timed.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "kit/case.h"
#include "kit/workload.h"
#include "rapt/rapt.h"

namespace rapt::bench {

// What is to be measured.
struct Job {
  std::string label;  // for people: "FP32 D128 causal"
  kit::Case spec;
  std::string backend;  // "" = the library chooses
  int threads = 0;      // 0 = RAPT_THREADS, else the CPUs of this process
  int repeat = 0;       // timed runs; 0 = until the median is steady
  bool plain = false;   // not rapt but its peer, bench/plain.h
  bool alone = false;   // CUDA: one call at a time with a clean cache, not one behind the other
};

// One row of a report.
struct Row {
  std::string label;
  kit::Case spec;
  std::string backend;
  std::string kernel;
  int threads = 0;  // 0 on a device
  double median_us = 0;
  double min_us = 0;
  double gflops = 0;
  double gbps = 0;
  std::optional<double> ceiling;  // that the suite is about, GFLOP/s or GB/s
  std::optional<double> share;    // of it
  bool checked = false;           // the answer was right
  double error = 0;               // the largest, against float64
  std::string sentence;           // what was wrong with the answer
  std::string peer;               // what speedup is relative to; "" = nothing
  std::optional<double> speedup;
  std::optional<std::int64_t> peak_bytes;  // beyond the tensors; CUDA: the workspace
};

// A row, or why there is none.
struct Outcome {
  rapt_status status = RAPT_OK;
  std::string sentence;
  Row row;
};

using Tell = std::function<void(const std::string&)>;  // hears what is going on

Outcome measure(const Job& job, const Tell& tell);

// The number of threads that 0 stands for.
int usual_threads();

// Operations as the field counts them: 2 * (head_dim + value_dim) a score, a square causal problem
// half of its scores, every other mask those that it leaves visible.
double counted_flops(const kit::Case& spec);

}  // namespace rapt::bench
