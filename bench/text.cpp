// SPDX-License-Identifier: Apache-2.0 OR MIT
// Three significant digits where a person compares, no more.
#include "bench/text.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace rapt::bench {
namespace {

std::string three_digits(double value) {
  return decimals(value, value < 9.995 ? 2 : (value < 99.95 ? 1 : 0));
}

}  // namespace

std::string decimals(double value, int places) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", places, value);
  return text;
}

std::string duration(double microseconds) {
  if (microseconds < 1e3) return three_digits(microseconds) + " us";
  if (microseconds < 1e6) return three_digits(microseconds * 1e-3) + " ms";
  return three_digits(microseconds * 1e-6) + " s";
}

std::string memory_size(double bytes) {
  if (bytes < 1e6) return decimals(bytes * 1e-3, 0) + " kB";
  if (bytes < 1e9) return three_digits(bytes * 1e-6) + " MB";
  return three_digits(bytes * 1e-9) + " GB";
}

std::string percent(double fraction) { return decimals(100 * fraction, 0) + "%"; }

std::string token_count(double tokens) {
  return tokens >= 1024 && std::fmod(tokens, 1024) == 0 ? decimals(tokens / 1024, 0) + "k"
                                                        : decimals(tokens, 0);
}

std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      text += (i == 0 ? "" : "  ") + (i == 0 ? row[i] + space : space + row[i]);
    }
    text += "\n";
  }
  return text;
}

}  // namespace rapt::bench
