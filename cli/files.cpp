// SPDX-License-Identifier: Apache-2.0 OR MIT
// Files by POSIX calls, since only those say why something failed.
#include "cli/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "cli/failure.h"

namespace rapt::cli {
namespace {

[[noreturn]] void fail_reading(const char* field, const std::string& path) {
  throw Failure(kInvalidArgument,
                std::string(field) + ": cannot read " + path + ": " + std::strerror(errno));
}

// Closes at the end of the scope.
struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

constexpr std::size_t kChunk = std::size_t{1} << 22;  // where a file does not know its size

// mkstemp's files are for their owner alone; a finished output has the mode of any new file.
mode_t usual_mode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

std::vector<std::byte> read_file(const char* field, const std::string& path) {
  const Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat about{};
  if (file.number < 0 || fstat(file.number, &about) != 0) fail_reading(field, path);
  std::vector<std::byte> bytes(S_ISREG(about.st_mode) ? static_cast<std::size_t>(about.st_size) + 1
                                                      : kChunk);
  std::size_t length = 0;
  for (;;) {
    const ssize_t got = read(file.number, bytes.data() + length, bytes.size() - length);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_reading(field, path);
    if (got == 0) break;
    length += static_cast<std::size_t>(got);
    if (length == bytes.size()) bytes.resize(2 * length);
  }
  bytes.resize(length);
  return bytes;
}

OutputFile::OutputFile(std::string path) : path_(std::move(path)) {
  // Renaming would put a file in the place of a device or a pipe.
  struct stat about{};
  if (stat(path_.c_str(), &about) == 0 && !S_ISREG(about.st_mode)) {
    throw Failure(kInvalidArgument, "output: " + path_ + " is there, and no regular file");
  }
  std::string pattern = path_ + ".XXXXXX";
  file_ = mkostemp(pattern.data(), O_CLOEXEC);
  if (file_ < 0) fail();
  private_path_ = pattern;
}

OutputFile::~OutputFile() {
  if (file_ >= 0) close(file_);
  if (!private_path_.empty()) unlink(private_path_.c_str());
}

void OutputFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(file_, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) fail();
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
}

void OutputFile::commit() {
  if (fchmod(file_, usual_mode()) != 0 || fsync(file_) != 0) fail();
  if (rename(private_path_.c_str(), path_.c_str()) != 0) fail();
  private_path_.clear();
}

void OutputFile::fail() const {
  throw Failure(kInvalidArgument, "output: cannot write " + path_ + ": " + std::strerror(errno));
}

void write_text(const std::string& path, std::string_view text) {
  if (path == "-") {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return;
  }
  OutputFile file(path);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

}  // namespace rapt::cli
