// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt attend`: attention over the tensors of a file, and its gradients, into a file.
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/file_problem.h"
#include "cli/files.h"
#include "cli/manual.h"
#include "cli/placed.h"

namespace rapt::cli {
namespace {

struct AttendOptions {
  Where where;
  std::string input;
  std::string d_out;
  std::string output;
  std::vector<std::string> keys;
};

void write_tensors(OutputFile& file, const std::vector<NamedTensor>& tensors) {
  const std::string header = safetensors_header(tensors, {});
  file.write(std::as_bytes(std::span(header)));
  for (const NamedTensor& tensor : tensors) file.write(tensor.data);
  file.commit();
}

int run(const AttendOptions& options) {
  FileProblem problem(options.input, options.keys, options.d_out);
  for (const std::string& name : problem.unused()) {
    std::fprintf(stderr, "rapt: note: tensor %s is not used\n", name.c_str());
  }
  const rapt_options library = options.where.options();
  prepare(problem, library);
  OutputFile output(options.output);  // a place that cannot be written is found before the work
  problem.make_outputs();
  Placed placed(problem, library, Part::tensors);
  placed.attend();
  if (placed.gradient() != nullptr) placed.attend_backward();
  placed.download();
  write_tensors(output, problem.results());
  return kDone;
}

}  // namespace

void add_attend(CLI::App& tool, int& exit) {
  CLI::App* command =
      tool.add_subcommand("attend", "Compute attention over q, k, v of a safetensors file");
  auto options = std::make_shared<AttendOptions>();
  command->add_option("--input", options->input, "Tensors q, k, v, and those of features")
      ->type_name("FILE")
      ->required();
  command
      ->add_option("--output", options->output,
                   "Receives out, lse and gradients; appears complete or not at all")
      ->type_name("FILE")
      ->required();
  add_d_out(*command, options->d_out);
  add_where(*command, options->where);
  command->add_option("keys", options->keys, "What to compute, see below")->type_name("KEY=VALUE");
  command->footer(
      "Example:\n  rapt attend --input qkv.safetensors --output out.safetensors "
      "mask=causal softcap=30\n\n" +
      manual::file_grammar() + "\n" + manual::exit_codes());
  command->callback([options, &exit] { exit = run(*options); });
}

}  // namespace rapt::cli
