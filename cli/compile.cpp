// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt compile`: fills the cache of compiled CUDA kernels on a machine that needs no GPU.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/files.h"
#include "cli/manual.h"
#include "cli/progress.h"

namespace rapt::cli {
namespace {

using Json = nlohmann::ordered_json;

struct CompileOptions {
  std::string archs;
  std::string kernel;
  std::string preset = "common";
  std::string json;
  bool list = false;
};

struct Report {
  bool prints = true;
  bool lists = false;
  Progress progress;
  Json kernels = Json::array();
};

void print_resources(const rapt_compiled& kernel) {
  std::printf("  %d registers, %d bytes spilled, %d bytes of shared memory, ",
              static_cast<int>(kernel.registers), static_cast<int>(kernel.spill_bytes),
              static_cast<int>(kernel.shared_bytes));
  if (kernel.compile_ms > 0) {
    std::printf("compiled in %.0f ms\n", kernel.compile_ms);
  } else {
    std::puts("in the cache already");
  }
}

void add(void* context, const rapt_compiled* kernel) {
  Report& report = *static_cast<Report*>(context);
  report.progress.show(std::string(report.lists ? "listed " : "compiled ") +
                       std::to_string(kernel->index + 1) + " of " + std::to_string(kernel->count) +
                       ": " + kernel->kernel + " for " + kernel->arch);
  if (report.prints) std::printf("%s  %s  %s\n", kernel->arch, kernel->kernel, kernel->config);
  if (report.prints && !report.lists) print_resources(*kernel);
  report.kernels.push_back({{"kernel", kernel->kernel},
                            {"arch", kernel->arch},
                            {"config", kernel->config},
                            {"registers", kernel->registers},
                            {"spill_bytes", kernel->spill_bytes},
                            {"shared_bytes", kernel->shared_bytes},
                            {"compile_ms", kernel->compile_ms}});
}

void run(const CompileOptions& options) {
  Report report;
  report.prints = options.json != "-";
  report.lists = options.list;
  rapt_compile_args args{};
  args.struct_size = sizeof args;
  args.archs = options.archs.c_str();
  args.preset = options.preset == "all" ? RAPT_PRESET_ALL : RAPT_PRESET_COMMON;
  args.kernel = options.kernel.empty() ? nullptr : options.kernel.c_str();
  args.list_only = options.list ? 1 : 0;
  args.on_compiled = add;
  args.context = &report;
  require_ok(rapt_compile(&args));
  const Json json = {{"schema", 1}, {"kernels", report.kernels}};
  if (!options.json.empty()) write_text(options.json, json.dump(2) + "\n");
}

}  // namespace

void add_compile(CLI::App& tool, int& exit) {
  CLI::App* command =
      tool.add_subcommand("compile", "Compile CUDA kernels ahead, for GPUs that need not be here");
  auto options = std::make_shared<CompileOptions>();
  command->add_option("--arch", options->archs, "Architectures: sm_80,sm_90a")
      ->type_name("LIST")
      ->required();
  command
      ->add_option("--kernel", options->kernel,
                   "Only kernels of this name, cuda/combine, or of a name and configuration")
      ->type_name("NAME");
  command->add_flag("--list", options->list, "Compile nothing, only list the kernels");
  command
      ->add_option("--preset", options->preset,
                   "common: what usual models run; all: every configuration")
      ->type_name("NAME")
      ->check(CLI::IsMember({"common", "all"}))
      ->capture_default_str();
  command->add_option("--json", options->json, "Write the list as JSON; - is standard output")
      ->type_name("FILE");
  command->footer(
      "Kernels go to the cache: RAPT_CACHE_DIR, else XDG_CACHE_HOME/rapt, else HOME/.cache/rapt. "
      "It "
      "may\nbe shipped and used read-only by the same version of rapt, also where there is no "
      "NVRTC.\n\n" +
      manual::exit_codes());
  command->callback([options, &exit] {
    run(*options);
    exit = kDone;
  });
}

}  // namespace rapt::cli
