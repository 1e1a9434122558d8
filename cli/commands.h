// SPDX-License-Identifier: Apache-2.0 OR MIT
// The commands. Each add_ function hangs one under the tool; when the user asks for it, its work is
// done and `exit` holds the code.
#pragma once
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "rapt/rapt.h"

namespace rapt::cli {

void add_devices(CLI::App& tool, int& exit);
void add_explain(CLI::App& tool, int& exit);
void add_attend(CLI::App& tool, int& exit);
void add_check(CLI::App& tool, int& exit);
void add_verify(CLI::App& tool, int& exit);
void add_bench(CLI::App& tool, int& exit);
void add_compile(CLI::App& tool, int& exit);

// What commands that compute have in common.
struct Where {
  std::string backend;  // "" = the library chooses
  int threads = 0;      // 0 = the library's default

  // Valid as long as this object.
  [[nodiscard]] rapt_options options() const;
};
void add_where(CLI::App& command, Where& where);

// The file that asks for gradients, of commands that read one.
void add_d_out(CLI::App& command, std::string& path);

// The kernel that would run, and those that would not.
struct Explanation {
  struct Refused {
    std::string kernel;
    std::string sentence;
  };
  std::string chosen;  // "" = none
  std::vector<Refused> refused;
};
Explanation explain(const rapt_attention& problem, const rapt_options& options);
Explanation explain(const rapt_gradient& gradient, const rapt_options& options);

}  // namespace rapt::cli
