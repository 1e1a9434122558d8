// SPDX-License-Identifier: Apache-2.0 OR MIT
// The log: the file that RAPT_LOG names, read once. It tells which kernel was chosen, what was
// compiled, and warnings that are no errors, a cache that cannot be written say. Default: none.
#pragma once
#include <string>

namespace rapt {

// Whether a line goes anywhere: what is expensive to word asks first.
bool logging();

// Appends one line; a file that cannot be written is let be.
void log_line(const std::string& line);

}  // namespace rapt
