// SPDX-License-Identifier: Apache-2.0 OR MIT
// Cubins on disk, shared by processes. Nothing here is an error: an entry that cannot be read is
// compiled again, one that cannot be written is a warning. Entries appear whole (private file, then
// rename).
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "backend/cuda/arch.h"
#include "backend/cuda/cubin.h"

namespace rapt::cuda {

// Everything that decides what a compiler makes, and the compiler.
struct CacheKey {
  std::string digest;    // 64 hex digits: text, options, architecture, version of rapt
  std::string compiler;  // "13.0.88"; "" = any, for machines that have cubins but no compiler
};
CacheKey cache_key(const Source& source, Arch arch, const std::string& compiler);

struct CacheSettings {
  std::string directory;                     // "" = no cache
  std::uint64_t limit_bytes = 256ULL << 20;  // thousands of kernels; one is 20 to 200 KB
  // With a compiling process that neither ends nor dies.
  std::chrono::milliseconds patience{30'000};
  std::function<void(const std::string&)> warn = {};
};

// RAPT_CACHE_DIR, else XDG_CACHE_HOME/rapt, else HOME/.cache/rapt; warnings go to the log.
CacheSettings system_cache_settings();

class CubinCache {
 public:
  explicit CubinCache(CacheSettings settings);

  // The right to compile one key, held by one of all threads and processes until it is destroyed or
  // its process dies. Empty, and no bar, where the directory takes no lock.
  class Lock {
   public:
    Lock() = default;
    Lock(int file, std::string path) : file_(file), path_(std::move(path)) {}
    ~Lock();
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;
    [[nodiscard]] bool held() const { return file_ >= 0; }

   private:
    int file_ = -1;
    std::string path_;
  };

  [[nodiscard]] Lock lock(const CacheKey& key) const;

  // False where there is no entry, or one that is damaged, cut short or of another key.
  bool load(const CacheKey& key, Cubin& cubin) const;

  // Writes the entry and evicts the least recently used beyond the limit. "" or why it is not kept.
  std::string store(const CacheKey& key, const Cubin& cubin) const;

  // Nothing is kept here, for no kernel.
  [[nodiscard]] bool empty() const;

  [[nodiscard]] const std::string& directory() const { return settings_.directory; }

 private:
  [[nodiscard]] std::string path(const CacheKey& key, const char* ending) const;
  [[nodiscard]] std::vector<std::string> entries_of(const CacheKey& key) const;
  bool load_file(const std::string& path, const CacheKey& key, Cubin& cubin) const;
  [[nodiscard]] std::string make_directory() const;  // "" or why there is none
  void evict() const;
  void warn(const std::string& sentence) const;
  [[nodiscard]] std::string unwritable(const std::string& why) const;  // the sentence; warns once

  CacheSettings settings_;
  mutable std::atomic<bool> told_unwritable_ = false;  // once is enough
};

}  // namespace rapt::cuda
