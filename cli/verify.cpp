// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt verify`: draws problems until enough were taken, judges each, and reports. Every failure
// comes with the command that shows it again.
#include "cli/verify.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "cli/failure.h"
#include "cli/files.h"
#include "kit/attempt.h"
#include "kit/case.h"
#include "kit/generator.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

rapt_options library_options(const VerifyOptions& options) {
  rapt_options library{};
  library.struct_size = sizeof library;
  if (!options.backend.empty()) library.backend = options.backend.c_str();
  library.threads = options.threads;
  return library;
}

std::string command_for(const kit::Case& c, const VerifyOptions& options) {
  const std::string backend = options.backend.empty() ? "" : " --backend " + options.backend;
  return "rapt verify" + backend + " --case \"" + kit::print_case(c) + "\"";
}

// One line on stderr that is written over: always on a terminal, else only where it stays silent
// long.
class Progress {
 public:
  explicit Progress(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}

  void show(std::int64_t done, std::int64_t count, std::int64_t failed) {
    const auto now = std::chrono::steady_clock::now();
    const auto pause = terminal_ ? std::chrono::milliseconds(200) : std::chrono::seconds(20);
    if (quiet_ || now - last_ < pause) return;
    last_ = now;
    shown_ = true;
    std::fprintf(stderr, "%sverify: %lld of %lld problems, %lld failed%s", terminal_ ? "\r" : "",
                 static_cast<long long>(done), static_cast<long long>(count),
                 static_cast<long long>(failed), terminal_ ? "" : "\n");
  }

  ~Progress() {
    if (shown_ && terminal_) std::fputs("\n", stderr);
  }

 private:
  bool quiet_, terminal_, shown_ = false;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

struct Failed {
  kit::Case problem;   // as drawn
  kit::Case simplest;  // made smaller
  std::string sentence;
};

struct Worst {
  double ratio = 0, max_error = 0;
  std::string problem;
};

struct Report {
  std::int64_t passed = 0, refused = 0;
  std::vector<Failed> failures;
  kit::Coverage coverage;
  Worst worst;
  bool device_lost = false;  // whatever would be asked next would fail too

  [[nodiscard]] std::int64_t taken() const {
    return passed + static_cast<std::int64_t>(failures.size());
  }
};

// The library's answer to every problem with these options (an unknown backend, say) ends the
// command.
void stop_if_hopeless(const kit::Attempt& attempt) {
  for (const char* field : {"backend", "options", "RAPT_"}) {
    if (attempt.verdict.sentence.rfind(field, 0) == 0) {
      throw Failure(exit_code(attempt.status), attempt.verdict.sentence);
    }
  }
}

Failed simplified(const kit::Case& c, const kit::Verdict& verdict, const VerifyOptions& options,
                  bool minimise) {
  Failed failed{c, c, verdict.sentence};
  if (!minimise) return failed;
  const auto fails = [&](const kit::Case& simpler) {
    const kit::Attempt attempt = kit::attempt(simpler, library_options(options));
    return !attempt.refused() && !attempt.verdict.passed;
  };
  failed.simplest = kit::minimise(c, fails, 200);
  failed.sentence = kit::attempt(failed.simplest, library_options(options)).verdict.sentence;
  return failed;
}

void judge_one(const kit::Case& c, const VerifyOptions& options, Report& report) {
  constexpr std::size_t kMinimised = 3;  // failures beyond are likely the same and only listed
  const kit::Attempt attempt = kit::attempt(c, library_options(options));
  if (attempt.status != RAPT_OK) stop_if_hopeless(attempt);
  if (attempt.refused()) {
    ++report.refused;
    return;
  }
  report.coverage.add(c);
  if (attempt.verdict.passed) {
    ++report.passed;
  } else {
    report.device_lost = attempt.status == RAPT_DEVICE_ERROR;
    const bool minimise = report.failures.size() < kMinimised && !report.device_lost;
    report.failures.push_back(simplified(c, attempt.verdict, options, minimise));
  }
  if (attempt.verdict.ratio > report.worst.ratio) {
    report.worst = {attempt.verdict.ratio, attempt.verdict.max_error, kit::print_case(c)};
  }
}

Report judge_many(const VerifyOptions& options) {
  Report report;
  kit::Generator generator(options.seed, options.direction);
  Progress progress(options.quiet);
  const std::int64_t most_refused = 100 + 4 * options.count;
  while (report.taken() < options.count && !report.device_lost) {
    if (report.refused > most_refused) {
      throw Failure(kUnsupported, "count: " + std::to_string(options.count) +
                                      " problems wanted, but " + std::to_string(report.refused) +
                                      " were refused and only " + std::to_string(report.taken()) +
                                      " taken");
    }
    judge_one(generator.next(report.coverage), options, report);
    progress.show(report.taken(), options.count, static_cast<std::int64_t>(report.failures.size()));
  }
  return report;
}

Json coverage_json(const kit::Coverage& coverage) {
  Json pairs = Json::object(), features = Json::object(), fewest;
  const std::vector<std::string>& names = kit::feature_names();
  for (std::size_t a = 0; a < names.size(); ++a) {
    features[names[a]] = coverage.count(a, a);
    for (std::size_t b = a + 1; b < names.size(); ++b) {
      if (!kit::legal_pair(a, b)) continue;
      const std::int64_t count = coverage.count(a, b);
      const std::string pair = names[a] + "+" + names[b];
      pairs[pair] = count;
      if (fewest.is_null() || count < fewest["count"]) fewest = {{"pair", pair}, {"count", count}};
    }
  }
  return {{"problems", coverage.problems()},
          {"kv_len_over_384", coverage.long_share()},
          {"head_dim_over_128", coverage.wide_share()},
          {"fewest", fewest},
          {"features", features},
          {"pairs", pairs}};
}

Json report_json(const Report& report, const VerifyOptions& options) {
  Json failures = Json::array();
  for (const Failed& f : report.failures) {
    failures.push_back({{"case", kit::print_case(f.simplest)},
                        {"sentence", f.sentence},
                        {"reproduce", command_for(f.simplest, options)},
                        {"drawn", kit::print_case(f.problem)}});
  }
  const Worst& worst = report.worst;
  return {
      {"schema", 1},
      {"seed", options.seed},
      {"passed", report.passed},
      {"failed", report.failures.size()},
      {"refused", report.refused},
      {"coverage", coverage_json(report.coverage)},
      {"worst", {{"ratio", worst.ratio}, {"max_error", worst.max_error}, {"case", worst.problem}}},
      {"failures", failures}};
}

void print_report(const Report& report, const VerifyOptions& options) {
  constexpr std::size_t kShown = 10;
  const std::size_t shown = std::min(kShown, report.failures.size());
  for (std::size_t n = 0; n < shown; ++n) {
    const Failed& f = report.failures[n];
    std::printf("FAILED %s\n  %s\n", f.sentence.c_str(), command_for(f.simplest, options).c_str());
  }
  if (shown < report.failures.size()) {
    std::printf("... and %zu more failures\n", report.failures.size() - shown);
  }
  std::printf("%lld passed, %zu failed, %lld refused; worst error is %.2f of what is allowed\n",
              static_cast<long long>(report.passed), report.failures.size(),
              static_cast<long long>(report.refused), report.worst.ratio);
}

int finish(const Report& report, const VerifyOptions& options) {
  if (options.json != "-") print_report(report, options);
  if (!options.json.empty()) {
    write_text(options.json, report_json(report, options).dump(1, ' ') + "\n");
  }
  return report.failures.empty() ? kDone : kWrong;
}

int verify_case(const VerifyOptions& options) {
  kit::Case c;
  const std::string wrong = kit::parse_case(options.case_text, c);
  if (!wrong.empty()) throw Failure(kUsage, "case: " + wrong);
  const kit::Attempt attempt = kit::attempt(c, library_options(options));
  if (attempt.status != RAPT_OK) throw Failure(exit_code(attempt.status), attempt.verdict.sentence);
  Report report;
  report.coverage.add(c);
  report.worst = {attempt.verdict.ratio, attempt.verdict.max_error, kit::print_case(c)};
  if (attempt.verdict.passed) {
    report.passed = 1;
  } else {
    report.failures.push_back({c, c, attempt.verdict.sentence});
  }
  return finish(report, options);
}

}  // namespace

int run_verify(const VerifyOptions& options) {
  if (!options.case_text.empty()) return verify_case(options);
  return finish(judge_many(options), options);
}

}  // namespace rapt::cli
