// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt verify`: the command line of run_verify.
#include <memory>
#include <string>

#include "cli/commands.h"
#include "cli/manual.h"
#include "cli/verify.h"

namespace rapt::cli {

namespace {

// Leaves the value of "direction=VALUE"; CLI11 prints what it answers.
std::string take_direction(std::string& word) {
  for (const char* direction : {"forward", "backward"}) {
    if (word != std::string("direction=") + direction) continue;
    word = direction;
    return "";
  }
  return word + ": wanted direction=forward or direction=backward";
}

}  // namespace

void add_verify(CLI::App& tool, int& exit) {
  CLI::App* command =
      tool.add_subcommand("verify", "Random problems, or a given one, against the float64 oracle");
  auto options = std::make_shared<VerifyOptions>();
  command->add_option("--count", options->count, "Problems to check")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of the generator: the same problems every time")
      ->type_name("S")
      ->capture_default_str();
  command->add_option("--case", options->case_text, "Check this problem alone")
      ->type_name("\"KEY=VALUE ...\"");
  command->add_option("--json", options->json, "Write the report as JSON")->type_name("FILE");
  command->add_option("--backend", options->backend, "Compute there, or not at all: cpu, cuda")
      ->type_name("NAME");
  command->add_option("--threads", options->threads, "CPU threads at most")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
  command->add_option("direction", options->direction, "Of random problems [direction=forward]")
      ->type_name("direction=forward|backward")
      ->transform(CLI::Validator(take_direction, ""));
  command->add_flag("--quiet", options->quiet, "No progress line");
  command->footer(
      "A failure is printed with the command that shows it again. Problems that the "
      "library refuses do not\ncount. Exits 1 where an answer was wrong.\n\n" +
      manual::grammar() + "\n" + manual::exit_codes());
  command->callback([options, &exit] { exit = run_verify(*options); });
}

}  // namespace rapt::cli
