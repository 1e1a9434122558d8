// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reads ptxas's verbose log.
#include "backend/cuda/cubin.h"

#include <cctype>

namespace rapt::cuda {
namespace {

// The number in front of `unit`: 18 for "Used 18 registers" and " registers"; 0 where there is
// none.
std::int32_t number_before(std::string_view line, std::string_view unit) {
  const std::size_t end = line.find(unit);
  if (end == std::string_view::npos) return 0;
  std::int32_t value = 0;
  std::int32_t scale = 1;
  for (std::size_t i = end; i > 0 && std::isdigit(static_cast<unsigned char>(line[i - 1])) != 0;
       --i, scale *= 10) {
    value += scale * (line[i - 1] - '0');
  }
  return value;
}

bool is_warning(std::string_view line) {
  return line.find("warning") != std::string_view::npos ||
         line.find("(C75") != std::string_view::npos;
}

void read_line(std::string_view line, Resources& resources) {
  resources.registers += number_before(line, " registers");
  resources.stack_bytes += number_before(line, " bytes stack frame");
  resources.spill_store_bytes += number_before(line, " bytes spill stores");
  resources.spill_load_bytes += number_before(line, " bytes spill loads");
  resources.shared_bytes += number_before(line, " bytes smem");
  if (is_warning(line)) resources.warnings.emplace_back(line);
}

}  // namespace

Resources parse_resources(std::string_view log) {
  Resources resources;
  while (!log.empty()) {
    const std::size_t end = log.find('\n');
    read_line(log.substr(0, end), resources);
    log.remove_prefix(end == std::string_view::npos ? log.size() : end + 1);
  }
  return resources;
}

}  // namespace rapt::cuda
