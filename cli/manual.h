// SPDX-License-Identifier: Apache-2.0 OR MIT
// The texts of --help: overview, examples, the grammar of problems, exit codes, environment.
#pragma once
#include <string>

namespace rapt::cli::manual {

std::string overview();      // of the tool, above its list of commands
std::string closing();       // of the tool, below it: examples, exit codes, environment
std::string grammar();       // every key of a case
std::string file_grammar();  // the keys that go with a file, and the tensors it may hold
std::string exit_codes();

}  // namespace rapt::cli::manual
