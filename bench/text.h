// SPDX-License-Identifier: Apache-2.0 OR MIT
// Numbers as people read them, for tables and charts.
#pragma once
#include <string>
#include <vector>

namespace rapt::bench {

std::string decimals(double value, int places);  // 12.34
std::string duration(double microseconds);       // "81.2 ms"
std::string memory_size(double bytes);           // "1.3 MB"
std::string percent(double fraction);            // "93%"
std::string token_count(double tokens);          // "16k"

// Rows of cells, the first a heading, as aligned columns; the first column leans left.
std::string aligned(const std::vector<std::vector<std::string>>& rows);

}  // namespace rapt::bench
