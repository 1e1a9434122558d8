// SPDX-License-Identifier: Apache-2.0 OR MIT
// The table of named cases that tests, benchmarks and the command line share.
#pragma once
#include <span>
#include <string>

#include "kit/case.h"

namespace rapt::kit {

struct NamedCase {
  const char* name;  // the feature first, then sizes
  const char* text;  // of the grammar
};

std::span<const NamedCase> named_cases();

// What every backward is held to, without a type: feature by feature, then all of them.
std::span<const char* const> gradient_cases();

// Throws std::invalid_argument where the text is not of the grammar.
Case case_of(const std::string& text);

}  // namespace rapt::kit
