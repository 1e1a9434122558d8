// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt check`: attention over the tensors of a file, held against the float64 oracle.
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
  std::string json;
  int rows = 0;
  std::vector<std::string> keys;
};

struct Result {
  std::string kernel;
  double microseconds = 0;  // of the second run
  kit::Verdict verdict;
};

Result compute(FileProblem& problem, const CheckOptions& options) {
  Progress progress;
  const rapt_options library = options.where.options();
  Result result;
  const Placed shapes(problem.attention(), library, Part::shapes);
  result.kernel = explain(shapes.attention(), library).chosen;
  require_ok(rapt_prepare(&shapes.attention(), &library));
  problem.make_outputs();
  Placed placed(problem.attention(), library, Part::tensors);
  progress.show("computing");
  placed.attend();
  const auto begin = std::chrono::steady_clock::now();
  placed.attend();
  const std::chrono::duration<double, std::micro> time = std::chrono::steady_clock::now() - begin;
  result.microseconds = time.count();
  placed.download();
  progress.show("computing the same in float64, to compare");
  result.verdict = kit::check(problem.attention(), {options.rows});
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
  FileProblem problem(options.input, options.keys);
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
  command->add_option("--json", options->json, "Write the verdict as JSON; - is standard output")
      ->type_name("FILE");
  command->add_option("--rows", options->rows, "Compare so many sampled queries a head [all]")
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
