// SPDX-License-Identifier: Apache-2.0 OR MIT
// One directory of entries "<digest>-<compiler>.cubin". Only names of that shape are ever touched,
// so a directory that holds other things keeps them.
#include "backend/cuda/cubin_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <thread>
#include <utility>

#include "backend/cuda/cache_entry.h"
#include "backend/cuda/nvrtc.h"
#include "backend/cuda/sha256.h"
#include "backend/file.h"
#include "log.h"
#include "names.h"

namespace rapt::cuda {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kDigestDigits = 64;
constexpr const char* kEntry = ".cubin";
constexpr const char* kLock = ".lock";

// What a process that died midway leaves behind is swept after so long.
constexpr std::chrono::hours kAbandoned{1};

bool is_ours(const std::string& name) {
  return name.size() > kDigestDigits && name[kDigestDigits] == '-' &&
         name.find_first_not_of("0123456789abcdef") == kDigestDigits;
}

struct Entry {
  fs::path path;
  fs::file_time_type used;
  std::uint64_t bytes = 0;
};

// Entries of the directory; files that a dead process left are removed on the way.
std::vector<Entry> list_entries(const std::string& directory) {
  std::vector<Entry> entries;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;  // by another process, at any time
    Entry entry{it->path(), it->last_write_time(gone), 0};
    if (gone || !is_ours(entry.path.filename().string())) continue;
    if (entry.path.extension() == kEntry) {
      entry.bytes = it->file_size(gone);
      if (!gone) entries.push_back(std::move(entry));
    } else if (fs::file_time_type::clock::now() - entry.used > kAbandoned) {
      fs::remove(entry.path, gone);
    }
  }
  return entries;
}

// Whether the open file is still the one of that name: its last holder removes it.
bool still_named(int file, const std::string& path) {
  struct stat open_file{};
  struct stat named{};
  return fstat(file, &open_file) == 0 && stat(path.c_str(), &named) == 0 &&
         open_file.st_ino == named.st_ino && open_file.st_dev == named.st_dev;
}

enum class Try { taken, busy, impossible };

Try try_lock(const std::string& path, int& file) {
  file = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return Try::impossible;
  if (flock(file, LOCK_EX | LOCK_NB) == 0 && still_named(file, path)) return Try::taken;
  const bool busy = errno == EWOULDBLOCK || !still_named(file, path);
  close(file);
  return busy ? Try::busy : Try::impossible;
}

}  // namespace

CacheKey cache_key(const Source& source, Arch arch, const std::string& compiler) {
  Sha256 hash;
  hash.add_field(name_of_version());
  hash.add_field(arch.name());
  for (const std::string& option : nvrtc_options(arch)) hash.add_field(option);
  hash.add_field(source.text);
  return {to_hex(hash.finish()), compiler};
}

CacheSettings system_cache_settings() {
  CacheSettings settings;
  settings.warn = [](const std::string& sentence) { log_line("warning: " + sentence); };
  const std::pair<const char*, const char*> places[] = {
      {"RAPT_CACHE_DIR", ""}, {"XDG_CACHE_HOME", "/rapt"}, {"HOME", "/.cache/rapt"}};
  for (const auto& [name, below] : places) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    settings.directory = std::string(value) + below;
    break;
  }
  return settings;
}

CubinCache::CubinCache(CacheSettings settings) : settings_(std::move(settings)) {}

CubinCache::Lock::~Lock() {
  if (file_ < 0) return;
  unlink(path_.c_str());
  flock(file_, LOCK_UN);  // closing alone would leave it to children forked meanwhile
  close(file_);
}

CubinCache::Lock CubinCache::lock(const CacheKey& key) const {
  if (!make_directory().empty()) return {};
  const std::string name = path(key, kLock);
  const auto deadline = std::chrono::steady_clock::now() + settings_.patience;
  std::chrono::milliseconds pause{1};
  int file = -1;
  for (Try answer = try_lock(name, file); answer != Try::taken; answer = try_lock(name, file)) {
    if (answer == Try::impossible) return {};
    if (std::chrono::steady_clock::now() > deadline) {
      warn("cache: " + name + " is held by a process that does not end; compiling beside it");
      return {};
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(2 * pause, std::chrono::milliseconds(16));
  }
  return {file, name};
}

bool CubinCache::load(const CacheKey& key, Cubin& cubin) const {
  if (settings_.directory.empty()) return false;
  for (const std::string& name : entries_of(key)) {
    if (load_file(name, key, cubin)) return true;
  }
  return false;
}

// One name where the compiler is known, else whatever compiler's entries are there, newest first.
std::vector<std::string> CubinCache::entries_of(const CacheKey& key) const {
  if (!key.compiler.empty()) return {path(key, kEntry)};
  std::vector<std::string> names;
  for (const Entry& entry : list_entries(settings_.directory)) {
    if (entry.path.filename().string().starts_with(key.digest))
      names.push_back(entry.path.string());
  }
  std::sort(names.rbegin(), names.rend());
  return names;
}

bool CubinCache::load_file(const std::string& name, const CacheKey& key, Cubin& cubin) const {
  std::vector<std::byte> bytes;
  if (!read_file(name, bytes)) return false;
  const std::string why = unpack_entry(bytes, key.digest, cubin);
  if (!why.empty()) {
    warn("cache: " + name + ": " + why + "; compiling again");
    return false;
  }
  utimensat(AT_FDCWD, name.c_str(), nullptr, 0);  // used now; fails harmlessly where read-only
  return true;
}

std::string CubinCache::store(const CacheKey& key, const Cubin& cubin) const {
  const std::vector<std::byte> bytes = pack_entry(key.digest, cubin);
  std::string why = make_directory();
  if (!why.empty()) return why;
  if (bytes.size() > settings_.limit_bytes) {
    return "cache: an entry of " + std::to_string(bytes.size()) + " bytes is larger than the whole";
  }
  why = replace_file(path(key, kEntry), bytes);
  if (!why.empty()) return unwritable(why);
  evict();
  return "";
}

bool CubinCache::empty() const {
  return settings_.directory.empty() || list_entries(settings_.directory).empty();
}

void CubinCache::evict() const {
  std::vector<Entry> entries = list_entries(settings_.directory);
  std::uint64_t total = 0;
  for (const Entry& entry : entries) total += entry.bytes;
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.used < b.used; });
  for (const Entry& entry : entries) {
    if (total <= settings_.limit_bytes) return;
    std::error_code gone;
    fs::remove(entry.path, gone);
    total -= entry.bytes;
  }
}

std::string CubinCache::make_directory() const {
  if (settings_.directory.empty()) return "cache: RAPT_CACHE_DIR is not set, nor is HOME";
  std::error_code error;
  fs::create_directories(settings_.directory, error);
  return error ? unwritable(error.message()) : "";
}

std::string CubinCache::path(const CacheKey& key, const char* ending) const {
  return settings_.directory + "/" + key.digest + "-" + key.compiler + ending;
}

void CubinCache::warn(const std::string& sentence) const {
  if (settings_.warn) settings_.warn(sentence);
}

std::string CubinCache::unwritable(const std::string& why) const {
  std::string sentence = "cache: " + settings_.directory + " cannot be written (" + why + ")";
  if (!told_unwritable_.exchange(true)) {
    warn(sentence + "; kernels are compiled anew in every process");
  }
  return sentence;
}

}  // namespace rapt::cuda
