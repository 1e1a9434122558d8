// SPDX-License-Identifier: Apache-2.0 OR MIT
// A plan is uploaded once and its runs are captured; the first of them is checked before any is
// timed. docs/cli.md describes the method.
#include "bench/cuda.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "bench/rows.h"
#include "kit/compare.h"
#include "kit/device_problem.h"
#include "kit/workload.h"

namespace rapt::bench {
namespace {

using kit::Place;
namespace cuda = kit::cuda;

constexpr kit::Sample kSampled{16, 4, 4};  // what is compared of a problem
constexpr double kFullCheckScores = 5e6;   // of more scores than these; else everything is
constexpr std::size_t kCopies = 64;        // of the problem at most
constexpr std::size_t kRotatedBytes = std::size_t{320} << 20;  // far beyond any L2 cache
constexpr std::size_t kCleanBytes = std::size_t{256} << 20;
constexpr double kGraphUs = 5000;                // a replay is to take at least so long,
constexpr int kLeastCalls = 5, kMostCalls = 40;  // but within these
constexpr double kWarmUs = 300'000;              // replays before the first that counts
constexpr int kSamples = 17;

struct PlanFree {
  void operator()(rapt_plan* plan) const { rapt_plan_free(plan); }
};

// Throws what a verb refuses after the plan was made: it then is a failure, not an answer.
void require(rapt_status status) {
  if (status != RAPT_OK) throw kit::DeviceError(rapt_error_message());
}

// One problem planned and uploaded, on copies of its tensors.
class Planned {
 public:
  Planned(kit::Workload& workload, const rapt_options& options, rapt_status& status)
      : options_(options) {
    const rapt_attention& problem = workload.attention();
    rapt_plan* plan = nullptr;
    status = rapt_plan_create(&problem, nullptr, &options_, &plan);
    plan_.reset(plan);
    if (status != RAPT_OK) return;
    workspace_ = std::make_unique<kit::DeviceBuffer>(kit::memory_at(Place::cuda), bytes());
    status = rapt_upload(plan, &workload.step(), workspace_->data(), bytes(), &options_);
  }

  [[nodiscard]] std::size_t bytes() const { return rapt_plan_workspace_bytes(plan_.get()); }
  [[nodiscard]] rapt_status run(const rapt_attention& problem) const {
    return rapt_run(plan_.get(), &problem, workspace_->data(), bytes(), &options_);
  }

 private:
  rapt_options options_;
  std::unique_ptr<rapt_plan, PlanFree> plan_;
  std::unique_ptr<kit::DeviceBuffer> workspace_;
};

// Copies of one problem that together are larger than the cache, so that each call finds its inputs
// in memory.
class Rotation {
 public:
  explicit Rotation(const kit::Workload& workload) {
    const kit::Storage storage = kit::storage_of(workload.host_attention());
    std::size_t bytes = 1;
    for (const auto& memory : storage) bytes += memory.size();
    const std::size_t count = std::clamp<std::size_t>(kRotatedBytes / bytes + 1, 2, kCopies);
    for (std::size_t n = 0; n < count; ++n) {
      copies_.push_back(
          std::make_unique<kit::DeviceProblem>(workload.host_attention(), storage, Place::cuda));
    }
  }

  [[nodiscard]] int size() const { return static_cast<int>(copies_.size()); }
  [[nodiscard]] const rapt_attention& at(int call) const {
    return copies_[static_cast<std::size_t>(call) % copies_.size()]->attention();
  }

 private:
  std::vector<std::unique_ptr<kit::DeviceProblem>> copies_;
};

// So many neighbouring calls as one graph.
class Replay {
 public:
  Replay(const cuda::Stream& stream, const Planned& planned, const Rotation& rotation, int calls)
      : stream_(stream), calls_(calls), graph_(stream, [&] {
          for (int call = 0; call < calls; ++call) require(planned.run(rotation.at(call)));
        }) {}

  // Microseconds of a call.
  [[nodiscard]] double time() const {
    begin_.record(stream_);
    graph_.launch(stream_);
    end_.record(stream_);
    return end_.microseconds_since(begin_) / calls_;
  }

 private:
  const cuda::Stream& stream_;
  int calls_;
  cuda::Graph graph_;
  cuda::Event begin_, end_;
};

int samples(const Job& job) { return job.repeat > 0 ? job.repeat : kSamples; }

// Back-to-back calls on a device that is warm.
std::vector<double> time_sustained(const Job& job, const cuda::Stream& stream,
                                   const Planned& planned, const Rotation& rotation) {
  const Replay once(stream, planned, rotation, rotation.size());
  (void)once.time();
  const double estimate = std::max(once.time(), 0.1);
  const int wanted = static_cast<int>(std::min(kGraphUs / estimate, 1.0 * kMostCalls));
  const int calls = std::max({wanted, kLeastCalls, rotation.size()});
  const Replay replay(stream, planned, rotation, calls);
  for (double spent = 0; spent < kWarmUs;) spent += replay.time() * calls;
  std::vector<double> seconds;
  for (int n = 0; n < samples(job); ++n) seconds.push_back(replay.time() * 1e-6);
  return seconds;
}

// One call at a time, each when the cache has been cleaned.
std::vector<double> time_alone(const Job& job, const cuda::Stream& stream, const Planned& planned,
                               const Rotation& rotation) {
  const CudaReader reader(kCleanBytes);
  const Replay replay(stream, planned, rotation, 1);
  std::vector<double> seconds;
  constexpr int kUncounted = 3;
  for (int n = -kUncounted; n < samples(job); ++n) {
    reader.clean_cache(stream);
    const double microseconds = replay.time();
    if (n >= 0) seconds.push_back(microseconds * 1e-6);
  }
  return seconds;
}

kit::Sample sample_of(const kit::Case& spec) {
  return kit::case_scores(spec) <= kFullCheckScores ? kit::Sample{} : kSampled;
}

Outcome measure_there(const Job& job, const Tell& tell) {
  tell(job.label + ": filling tensors");
  kit::Workload workload(job.spec, kit::Contents::values, Place::cuda);
  const cuda::Stream stream;
  rapt_options options{};
  options.struct_size = sizeof options;
  options.backend = "cuda";
  options.stream = stream.handle();
  std::string kernel;
  rapt_status status = choose_kernel(workload.attention(), options, kernel);
  if (status != RAPT_OK) return refused(status, kernel);

  tell(job.label + ": first run");
  Row row = empty_row(job, kernel, 0);
  const Planned planned(workload, options, status);
  if (status == RAPT_OK) status = planned.run(workload.attention());
  if (status != RAPT_OK) return refused(status, rapt_error_message());
  row.peak_bytes = static_cast<std::int64_t>(planned.bytes());
  workload.download();
  tell(job.label + ": comparing with the oracle");
  fill_verdict(kit::check(workload, sample_of(job.spec)), row);
  if (!row.checked) return {RAPT_OK, "", row};
  tell(job.label + ": timing");
  const Rotation rotation(workload);
  fill_times(job.alone ? time_alone(job, stream, planned, rotation)
                       : time_sustained(job, stream, planned, rotation),
             row);
  return {RAPT_OK, "", row};
}

}  // namespace

Outcome measure_cuda(const Job& job, const Tell& tell) {
  const std::string absent = kit::why_absent(Place::cuda);
  if (!absent.empty()) return refused(RAPT_UNSUPPORTED, absent);
  try {
    return measure_there(job, tell);
  } catch (const kit::DeviceError& error) {
    return refused(RAPT_DEVICE_ERROR, std::string("device: ") + error.what());
  }
}

}  // namespace rapt::bench
