// SPDX-License-Identifier: Apache-2.0 OR MIT
// POSIX files, since a private name, a whole write and every error are wanted.
#include "backend/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace rapt {
namespace {

std::string last_error() { return std::generic_category().message(errno); }

bool read_all(int file, std::span<std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t got = read(file, bytes.data(), bytes.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

bool write_all(int file, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t put = write(file, bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(put));
  }
  return true;
}

}  // namespace

bool read_file(const std::string& path, std::vector<std::byte>& bytes) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  struct stat about{};
  bool whole = fstat(file, &about) == 0 && S_ISREG(about.st_mode);
  if (whole) {
    bytes.resize(static_cast<std::size_t>(about.st_size));
    whole = read_all(file, bytes);
  }
  close(file);
  return whole;
}

std::string replace_file(const std::string& path, std::span<const std::byte> bytes) {
  std::string name = path + ".XXXXXX.tmp";
  const int file = mkostemps(name.data(), 4, O_CLOEXEC);
  if (file < 0) return last_error();
  const bool written = write_all(file, bytes) && fchmod(file, 0644) == 0;
  std::string why = written ? "" : last_error();
  if (close(file) != 0 && why.empty()) why = last_error();
  if (why.empty() && std::rename(name.c_str(), path.c_str()) != 0) why = last_error();
  if (!why.empty()) unlink(name.c_str());
  return why;
}

}  // namespace rapt
