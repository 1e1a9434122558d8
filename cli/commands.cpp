// SPDX-License-Identifier: Apache-2.0 OR MIT
// What several commands share.
#include "cli/commands.h"

#include <nlohmann/json.hpp>

#include "cli/failure.h"

namespace rapt::cli {

rapt_options Where::options() const {
  rapt_options options{};
  options.struct_size = sizeof options;
  options.backend = backend.empty() ? nullptr : backend.c_str();
  options.threads = threads;
  return options;
}

void add_where(CLI::App& command, Where& where) {
  command.add_option("--backend", where.backend, "Compute there, or not at all: cpu, cuda")
      ->type_name("NAME");
  command.add_option("--threads", where.threads, "CPU threads at most")
      ->type_name("N")
      ->check(CLI::Range(1, 4096));
}

void add_d_out(CLI::App& command, std::string& path) {
  command
      .add_option("--d-out", path, "Holds d_out, as out: also dq, dk, dv and features' gradients")
      ->type_name("FILE");
}

namespace {

// `ask(text, capacity, needed)` is one of the library's two. Its first call answers the size, and
// "too short" where nothing else is wrong.
template <class Ask>
Explanation read_explanation(Ask ask) {
  std::size_t needed = 0;
  const rapt_status sized = ask(nullptr, 0, &needed);
  if (needed == 0) require_ok(sized);
  std::string text(needed, '\0');
  require_ok(ask(text.data(), needed, &needed));
  const auto json = nlohmann::json::parse(text.c_str());
  Explanation answer;
  if (json.at("chosen").is_string()) answer.chosen = json.at("chosen");
  for (const auto& refused : json.at("refused")) {
    answer.refused.push_back({refused.at("kernel"), refused.at("sentence")});
  }
  return answer;
}

}  // namespace

Explanation explain(const rapt_attention& problem, const rapt_options& options) {
  return read_explanation([&](char* text, std::size_t capacity, std::size_t* needed) {
    return rapt_explain(&problem, &options, text, capacity, needed);
  });
}

Explanation explain(const rapt_gradient& gradient, const rapt_options& options) {
  return read_explanation([&](char* text, std::size_t capacity, std::size_t* needed) {
    return rapt_explain_backward(&gradient, &options, text, capacity, needed);
  });
}

}  // namespace rapt::cli
