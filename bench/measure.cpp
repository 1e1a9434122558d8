// SPDX-License-Identifier: Apache-2.0 OR MIT
// The first run measures memory, the check poisons nothing after it, the timed runs come last.
#include "bench/measure.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "bench/cuda.h"
#include "bench/memory.h"
#include "bench/plain.h"
#include "bench/rows.h"
#include "bench/team.h"
#include "kit/compare.h"
#include "kit/workload.h"

namespace rapt::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kFullCheckKeys = 2048;  // above, the oracle looks at sampled rows
constexpr std::int64_t kSampledRows = 48;      // a head
constexpr double kLongSeconds = 4;             // a run that long is timed once
constexpr double kEnoughSeconds = 1;
constexpr std::size_t kLeastRuns = 7;
constexpr std::size_t kMostRuns = 2000;

// What computes the answer: rapt or its peer.
class Solver {
 public:
  Solver(const Job& job, const kit::Workload& workload, int threads)
      : workload_(workload),
        backward_(job.spec.direction == "backward"),
        plain_(job.plain),
        backend_(job.backend) {
    options_.struct_size = sizeof options_;
    options_.backend = backend_.empty() ? nullptr : backend_.c_str();
    options_.threads = threads;
  }

  rapt_status choose(std::string& name) const {
    if (backward_) return choose_kernel(workload_.gradient(), options_, name);
    if (!plain_) return choose_kernel(workload_.attention(), options_, name);
    name = "plain/softmax";
    return RAPT_OK;
  }

  [[nodiscard]] rapt_status solve() const {
    if (backward_) return rapt_attend_backward(&workload_.gradient(), &options_);
    return forward();
  }

  [[nodiscard]] rapt_status forward() const {
    const rapt_attention& problem = workload_.attention();
    if (!plain_) return rapt_attend(&problem, &options_);
    return plain_attention(problem, options_.threads) ? RAPT_OK : RAPT_UNSUPPORTED;
  }

  // What the answer is compared in: all rows, or so many of each head.
  [[nodiscard]] kit::Verdict check(std::int64_t rows) const {
    return backward_ ? kit::check_gradient(workload_, {rows}) : kit::check(workload_, {rows});
  }

 private:
  const kit::Workload& workload_;
  bool backward_;
  bool plain_;
  std::string backend_;
  rapt_options options_{};
};

double seconds_of(const Solver& solver, rapt_status& status) {
  const Clock::time_point begin = Clock::now();
  status = solver.solve();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::vector<double> time_runs(const Solver& solver, int repeat, double first) {
  std::vector<double> times;
  if (first > kLongSeconds && repeat == 0) return {first};
  const auto wanted = static_cast<std::size_t>(repeat);
  double total = 0;
  rapt_status status = RAPT_OK;
  while (repeat > 0
             ? times.size() < wanted
             : times.size() < kMostRuns && (times.size() < kLeastRuns || total < kEnoughSeconds)) {
    times.push_back(seconds_of(solver, status));
    total += times.back();
  }
  return times;
}

}  // namespace

int usual_threads() {
  const char* asked = std::getenv("RAPT_THREADS");
  const int threads = asked == nullptr ? 0 : std::atoi(asked);
  return threads > 0 ? threads : static_cast<int>(allowed_cpus().size());
}

double counted_flops(const kit::Case& c) {
  const bool square = c.q_len == c.kv_len && c.q_lens.empty() && c.kv_lens.empty();
  if (c.mask != "causal" || !square || c.positions || c.left_pad) return kit::case_flops(c);
  const double scores = 0.5 * static_cast<double>(c.batch * c.q_heads) *
                        static_cast<double>(c.q_len) * static_cast<double>(c.kv_len);
  return kit::case_flops_a_score(c) * scores;
}

Outcome measure(const Job& job, const Tell& tell) {
  rapt_options options{};
  options.backend = job.backend.empty() ? nullptr : job.backend.c_str();
  if (!job.plain && kit::place_of(options) == kit::Place::cuda) return measure_cuda(job, tell);
  const int threads = job.threads > 0 ? job.threads : usual_threads();
  tell(job.label + ": filling tensors");
  kit::Workload workload(job.spec);
  std::optional<Pinned> pinned;
  if (threads == 1) pinned.emplace();
  const Solver solver(job, workload, threads);
  std::string kernel;
  rapt_status status = solver.choose(kernel);
  if (status != RAPT_OK) return refused(status, kernel);

  tell(job.label + ": first run");
  Row row = empty_row(job, kernel, threads);
  const PeakMemory memory;
  if (row.spec.direction == "backward") status = solver.forward();
  if (status != RAPT_OK) return refused(status, rapt_error_message());
  const double first = seconds_of(solver, status);
  if (status != RAPT_OK) return refused(status, rapt_error_message());
  row.peak_bytes = memory.bytes();
  tell(job.label + ": comparing with the oracle");
  const bool all = row.spec.kv_len <= kFullCheckKeys;
  fill_verdict(solver.check(all ? 0 : kSampledRows), row);
  tell(job.label + ": timing");
  if (row.checked) fill_times(time_runs(solver, job.repeat, first), row);
  return {RAPT_OK, "", row};
}

}  // namespace rapt::bench
