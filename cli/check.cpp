// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt check`: attention over the tensors of a file, and its gradients, held against the float64
// oracle.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench/text.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/file_problem.h"
#include "cli/files.h"
#include "cli/manual.h"
#include "cli/placed.h"
#include "cli/progress.h"
#include "kit/compare.h"

namespace rapt::cli {
namespace {

struct CheckOptions {
  Where where;
  std::string input;
  std::string d_out;
  std::string json;
  int rows = 0;
  std::vector<std::string> keys;
};

struct Result {
  std::string kernel;
  double microseconds = 0;  // of that kernel's second run
  kit::Verdict verdict;
};

kit::Verdict judge(const FileProblem& problem, const CheckOptions& options) {
  const kit::Sample sample{options.rows};
  kit::Verdict verdict = kit::check(problem.attention(), sample);
  const rapt_gradient* gradient = problem.gradient();
  if (gradient == nullptr) return verdict;
  const kit::Verdict of_gradient = kit::GradientTruth(*gradient, sample).judge(*gradient);
  verdict.fail(of_gradient.sentence);
  verdict.passed = verdict.passed && of_gradient.passed;
  verdict.max_error = std::max(verdict.max_error, of_gradient.max_error);
  verdict.ratio = std::max(verdict.ratio, of_gradient.ratio);
  return verdict;
}

Result compute(FileProblem& problem, const CheckOptions& options) {
  Progress progress;
  const rapt_options library = options.where.options();
  Result result;
  result.kernel = prepare(problem, library);
  problem.make_outputs();
  Placed placed(problem, library, Part::tensors);
  const auto run = placed.gradient() != nullptr ? &Placed::attend_backward : &Placed::attend;
  progress.show("computing");
  placed.attend();
  if (placed.gradient() != nullptr) placed.attend_backward();
  const auto begin = std::chrono::steady_clock::now();
  (placed.*run)();
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
  result.microseconds = time.count();
  placed.download();
  progress.show("computing the same in float64, to compare");
  result.verdict = judge(problem, options);
  return result;
}

std::string shape_of(const rapt_tensor& tensor) {
  std::string text = rapt_dtype_name(tensor.dtype);
  for (int i = 0; i < tensor.rank; ++i) {
    text += (i == 0 ? " [" : ", ") + std::to_string(tensor.shape[i]);
  }
  return text + "]";
}

void print(const rapt_attention& a, const CheckOptions& options, const Result& result) {
  const kit::Verdict& verdict = result.verdict;
  std::printf("file     %s\n", options.input.c_str());
  std::printf("q        %s\n", shape_of(a.q).c_str());
  std::printf("k, v     %s, %s\n", shape_of(a.k).c_str(), shape_of(a.v).c_str());
  std::printf("kernel   %s\n", result.kernel.c_str());
  std::printf("time     %s\n", bench::duration(result.microseconds).c_str());
  std::printf("error    %.2e at most, against float64: %s of what is allowed\n", verdict.max_error,
              bench::percent(verdict.ratio).c_str());
  std::printf("verdict  %s\n", verdict.passed ? "correct" : "WRONG");
  if (!verdict.sentence.empty()) std::printf("  %s\n", verdict.sentence.c_str());
}

std::string as_json(const CheckOptions& options, const Result& result) {
  const nlohmann::ordered_json json = {{"schema", 1},
                                       {"input", options.input},
                                       {"kernel", result.kernel},
                                       {"time_us", result.microseconds},
                                       {"passed", result.verdict.passed},
                                       {"error", result.verdict.max_error},
                                       {"ratio", result.verdict.ratio},
                                       {"sentence", result.verdict.sentence}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

int run(const CheckOptions& options) {
  FileProblem problem(options.input, options.keys, options.d_out);
  const Result result = compute(problem, options);
  if (options.json != "-") print(problem.attention(), options, result);
  if (!options.json.empty()) write_text(options.json, as_json(options, result));
  return result.verdict.passed ? kDone : kWrong;
}

}  // namespace

void add_check(CLI::App& tool, int& exit) {
  CLI::App* command = tool.add_subcommand(
      "check", "Compute attention over a safetensors file and compare with float64");
  auto options = std::make_shared<CheckOptions>();
  command->add_option("--input", options->input, "Tensors q, k, v, and those of features")
      ->type_name("FILE")
      ->required();
  add_d_out(*command, options->d_out);
  command->add_option("--json", options->json, "Write the verdict as JSON; - is standard output")
      ->type_name("FILE");
  command
      ->add_option("--rows", options->rows,
                   "Compare so many sampled queries a head, and no sums over queries [all]")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  add_where(*command, options->where);
  command->add_option("keys", options->keys, "What to compute, see below")->type_name("KEY=VALUE");
  command->footer(
      "An answer is correct where its error is at most twice that of plain FP32 "
      "attention on the same\ntensors, and its root mean square at most 1.3 times "
      "(docs/numerics.md). Exits 1 where it is not.\n\n" +
      manual::file_grammar() + "\n" + manual::exit_codes());
  command->callback([options, &exit] { exit = run(*options); });
}

}  // namespace rapt::cli
