// SPDX-License-Identifier: Apache-2.0 OR MIT
// What names a kernel in memory: its family, its configuration's bytes, the architecture and a
// user's modifier. No strings: making a key, hashing it and comparing it is all that a warm launch
// pays.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "backend/cuda/arch.h"
#include "backend/cuda/cubin.h"

namespace rapt::cuda {

inline constexpr std::size_t kMaxConfigBytes = 96;

// Kernels that differ in configuration only. Lives as long as the process: its address is its
// identity.
struct KernelFamily {
  const char* name;                          // "cuda/portable_forward"
  const char* file;                          // below kernels/cuda: "portable/forward.cuh"
  const char* entry;                         // the extern "C" function
  std::string (*words)(const void* config);  // "kind=0 threads=256", for ledgers
  // The text behind the flattened file: the configuration as a constant and the entry itself.
  std::string (*instantiate)(const void* config);
  // Dynamic shared memory of a launch.
  std::uint32_t (*shared_bytes)(const void* config);
};

inline std::uint32_t no_shared_bytes(const void*) { return 0; }

struct KernelKey {
  const KernelFamily* family = nullptr;
  std::uint64_t modifier = 0;  // hash of the user's text; 0 = none
  Arch arch;
  std::uint32_t config_bytes = 0;
  std::array<std::uint64_t, kMaxConfigBytes / 8> config{};  // zeros behind the struct

  friend bool operator==(const KernelKey& a, const KernelKey& b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
  }

  [[nodiscard]] std::uint64_t hash() const {
    constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio
    std::uint64_t h = reinterpret_cast<std::uintptr_t>(family) ^ modifier;
    h = (h + static_cast<std::uint64_t>(arch.number)) * kOdd;
    for (std::size_t i = 0; 8 * i < config_bytes; ++i) {
      h ^= h >> 32;
      h = (h ^ config[i]) * kOdd;
    }
    return h ^ h >> 29;
  }
};
static_assert(std::has_unique_object_representations_v<KernelKey>);

template <typename Config>
KernelKey kernel_key(const KernelFamily& family, const Config& config, Arch arch,
                     std::uint64_t modifier = 0) {
  static_assert(std::has_unique_object_representations_v<Config>, "padding has no fixed bytes");
  static_assert(sizeof(Config) <= kMaxConfigBytes);
  KernelKey key;
  key.family = &family;
  key.modifier = modifier;
  key.arch = arch;
  key.config_bytes = sizeof(Config);
  std::memcpy(key.config.data(), &config, sizeof(Config));
  return key;
}

// Puts a kernel's key into a list that does not hold it yet.
template <typename Config>
void add_key(const KernelFamily& family, const Config& config, Arch arch,
             std::vector<KernelKey>& keys) {
  const KernelKey key = kernel_key(family, config, arch);
  if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
}

}  // namespace rapt::cuda
