// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt explain`: which kernel would run, and why each other one would not.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/files.h"
#include "cli/manual.h"
#include "kit/workload.h"

namespace rapt::cli {
namespace {

struct ExplainOptions {
  Where where;
  std::string text;
  std::string json;
};

Explanation explain_case(const kit::Case& spec, const rapt_options& options) {
  const kit::Workload workload(spec, kit::Contents::none, kit::place_of(options));
  return spec.direction == "backward" ? explain(workload.gradient(), options)
                                      : explain(workload.attention(), options);
}

void print(const Explanation& answer) {
  std::printf("chosen: %s\n", answer.chosen.empty() ? "none" : answer.chosen.c_str());
  for (const auto& refused : answer.refused) {
    std::printf("refused: %s\n  %s\n", refused.kernel.c_str(), refused.sentence.c_str());
  }
}

std::string as_json(const Explanation& answer) {
  using Json = nlohmann::ordered_json;
  const Json chosen = answer.chosen.empty() ? Json() : Json(answer.chosen);
  Json json = {{"schema", 1}, {"chosen", chosen}, {"refused", Json::array()}};
  for (const auto& refused : answer.refused) {
    json["refused"].push_back({{"kernel", refused.kernel}, {"sentence", refused.sentence}});
  }
  return json.dump(2) + "\n";
}

int run(const ExplainOptions& options) {
  kit::Case spec;
  const std::string wrong = kit::parse_case(options.text, spec);
  if (!wrong.empty()) throw Failure(kUsage, wrong);
  const Explanation answer = explain_case(spec, options.where.options());
  if (options.json != "-") print(answer);
  if (!options.json.empty()) write_text(options.json, as_json(answer));
  return kDone;
}

}  // namespace

void add_explain(CLI::App& tool, int& exit) {
  CLI::App* command =
      tool.add_subcommand("explain", "Which kernel would run a problem, and why not the others");
  auto options = std::make_shared<ExplainOptions>();
  command->add_option("--case", options->text, "The problem, in the grammar below")
      ->type_name("\"KEY=VALUE ...\"")
      ->required();
  command->add_option("--json", options->json, "Write the answer as JSON; - is standard output")
      ->type_name("FILE");
  add_where(*command, options->where);
  command->footer(
      "Nothing is computed and no tensor is made, so sizes may be huge. A problem that "
      "no kernel takes\nis explained too (chosen: none) and exits 0. With --backend cuda the "
      "tensors "
      "are taken to lie\non CUDA device 0.\n\n" +
      manual::grammar() + "\n" + manual::exit_codes());
  command->callback([options, &exit] { exit = run(*options); });
}

}  // namespace rapt::cli
