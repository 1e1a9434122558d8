// SPDX-License-Identifier: Apache-2.0 OR MIT
#include "guarded_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <mutex>

namespace rapt::emulator {
namespace {

struct Mapping {
  void* begin;
  std::size_t bytes;
};

std::mutex mutex;
std::map<void*, Mapping>& mappings() {
  static auto& all = *new std::map<void*, Mapping>;  // outlives whoever releases last
  return all;
}

std::size_t rounded_up(std::size_t bytes, std::size_t to) { return (bytes + to - 1) / to * to; }

}  // namespace

void* allocate_guarded(std::size_t bytes, std::size_t alignment) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t used = rounded_up(bytes + (bytes == 0), alignment);
  const std::size_t whole = rounded_up(used, page) + page;
  void* begin = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (begin == MAP_FAILED) return nullptr;
  unsigned char* guard = static_cast<unsigned char*>(begin) + whole - page;
  mprotect(guard, page, PROT_NONE);
  const std::scoped_lock lock(mutex);
  mappings()[guard - used] = {begin, whole};
  return guard - used;
}

void release_guarded(void* memory) {
  const std::scoped_lock lock(mutex);
  const auto found = mappings().find(memory);
  if (found == mappings().end()) return;
  munmap(found->second.begin, found->second.bytes);
  mappings().erase(found);
}

}  // namespace rapt::emulator
