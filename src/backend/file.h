// SPDX-License-Identifier: Apache-2.0 OR MIT
// Small files read and written whole.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace rapt {

// False where the file cannot be read.
bool read_file(const std::string& path, std::vector<std::byte>& bytes);

// Writes a private file beside `path` and renames it into place. "" or why not; then nothing is
// left.
std::string replace_file(const std::string& path, std::span<const std::byte> bytes);

}  // namespace rapt
