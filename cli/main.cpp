// SPDX-License-Identifier: Apache-2.0 OR MIT
// The command line tool: hangs the commands under one parser and turns what they throw into
// sentences and exit codes.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/manual.h"
#include "kit/cuda.h"

namespace rapt::cli {
namespace {

std::string version() {
  const int number = rapt_version();
  return "rapt " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." +
         std::to_string(number % 100);
}

int complain(ExitCode code, const std::string& sentence) {
  std::fprintf(stderr, "rapt: %s\n", sentence.c_str());
  return code;
}

// Help and version are "errors" of the parser that end well.
int usage(const CLI::App& tool, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0) return tool.exit(error);
  return complain(
      kUsage, std::string(error.what()) + "\nrapt --help, or rapt COMMAND --help, " + "says more.");
}

void add_commands(CLI::App& tool, int& exit) {
  tool.set_version_flag("--version", version(), "Print the version and leave");
  tool.footer(manual::closing());
  tool.get_formatter()->column_width(28);
  tool.require_subcommand(1);
  add_devices(tool, exit);
  add_explain(tool, exit);
  add_attend(tool, exit);
  add_check(tool, exit);
  add_verify(tool, exit);
  add_bench(tool, exit);
  add_compile(tool, exit);
}

int run(int count, char** words) {
  CLI::App tool(manual::overview(), "rapt");
  int exit = kDone;
  add_commands(tool, exit);
  try {
    tool.parse(count, words);
    return exit;
  } catch (const CLI::ParseError& error) {
    return usage(tool, error);
  } catch (const Failure& failure) {
    return complain(failure.code(), failure.what());
  } catch (const kit::DeviceError& error) {
    return complain(kDeviceError, std::string("device: ") + error.what());
  } catch (const std::bad_alloc&) {
    return complain(kOutOfMemory, "memory: not enough for the tensors of this problem");
  } catch (const std::exception& error) {
    return complain(kInternal, std::string("internal: ") + error.what());
  }
}

}  // namespace
}  // namespace rapt::cli

int main(int count, char** words) {
  try {
    return rapt::cli::run(count, words);
  } catch (...) {  // the memory ran out while saying so
    return rapt::cli::kInternal;
  }
}
