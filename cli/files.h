// SPDX-License-Identifier: Apache-2.0 OR MIT
// Files read and written whole. An output appears under its name complete or not at all.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rapt::cli {

// The bytes of a file; throws invalid_argument, in a sentence that begins with `field`, where it
// cannot be read.
std::vector<std::byte> read_file(const char* field, const std::string& path);

// Writes to a private file beside `path`, which commit() gives its name; without commit() nothing
// is left. Throws invalid_argument where the place cannot be written.
class OutputFile {
 public:
  explicit OutputFile(std::string path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void commit();

 private:
  [[noreturn]] void fail() const;

  std::string path_;
  std::string private_path_;
  int file_ = -1;
};

// Writes a whole text; "-" is standard output.
void write_text(const std::string& path, std::string_view text);

}  // namespace rapt::cli
