// SPDX-License-Identifier: Apache-2.0 OR MIT
// Asked of the library itself, so that a new kernel is tested without a list here.
#include "kit/kernels.h"

#include <nlohmann/json.hpp>

#include "kit/workload.h"

namespace rapt::kit {

std::vector<std::string> runnable_backwards() {
  std::vector<std::string> names = runnable_kernels();
  for (std::string& name : names) name.replace(name.rfind("forward"), 7, "backward");
  return names;
}

rapt_options force(const std::string& kernel) {
  rapt_options options{};
  options.struct_size = sizeof options;
  options.kernel = kernel.c_str();
  return options;
}

std::vector<std::string> runnable_kernels() {
  const Workload workload(Case{}, Contents::none);
  std::size_t size = 0;
  rapt_explain(&workload.attention(), nullptr, nullptr, 0, &size);
  std::string text(size, ' ');
  if (rapt_explain(&workload.attention(), nullptr, text.data(), size, &size) != RAPT_OK) return {};
  text.resize(size - 1);
  const auto answer = nlohmann::json::parse(text);
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    const rapt_options options = force(name);
    if (rapt_prepare(&workload.attention(), &options) == RAPT_OK) names.push_back(name);
  };
  if (answer["chosen"].is_string()) add(answer["chosen"]);
  for (const auto& other : answer["refused"]) add(other["kernel"]);
  return names;
}

}  // namespace rapt::kit
