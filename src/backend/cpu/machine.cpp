// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reads /proc, /sys/fs/cgroup and the scheduler's masks. A file that is missing or malformed is no
// limit.
#include "backend/cpu/machine.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>

namespace rapt::cpu {
namespace {

// A mask of as many CPUs as the kernel may know; cpu_set_t alone stops at 1024.
constexpr std::size_t kMaskCpus = 8192;
constexpr std::size_t kMaskBytes = CPU_ALLOC_SIZE(kMaskCpus);

struct Mask {
  unsigned char bytes[kMaskBytes] = {};
  cpu_set_t* set() { return reinterpret_cast<cpu_set_t*>(bytes); }
};

// The main thread's, whose number is the process's.
bool process_mask(Mask& mask) { return sched_getaffinity(getpid(), kMaskBytes, mask.set()) == 0; }

std::int32_t affinity_cpus() {
  alignas(cpu_set_t) Mask mask;
  if (process_mask(mask)) return std::max(1, CPU_COUNT_S(kMaskBytes, mask.set()));
  return static_cast<std::int32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

// This process's group in the v2 hierarchy: the "0::/path" line.
std::string cgroup_path() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("0::/")) return line.substr(3);
  }
  return "/";
}

// The tightest quota of this process's group and of every group above it; 0 = none.
std::int32_t cgroup_cpus() {
  std::int32_t least = 0;
  for (std::string path = cgroup_path();;) {
    const std::string separator = path.ends_with('/') ? "" : "/";
    const std::int32_t cpus =
        quota_cpus(first_line("/sys/fs/cgroup" + path + separator + "cpu.max"));
    if (cpus > 0) least = least == 0 ? cpus : std::min(least, cpus);
    if (path.size() <= 1) return least;
    path.resize(std::max<std::size_t>(1, path.find_last_of('/')));
  }
}

}  // namespace

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  utsname names{};
  return uname(&names) == 0 ? std::string(names.machine) + " CPU" : "CPU";
}

std::int64_t memory_bytes() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && page_bytes > 0 ? std::int64_t{pages} * page_bytes : 0;
}

std::int32_t usable_cpus() {
  const std::int32_t cpus = affinity_cpus();
  const std::int32_t quota = cgroup_cpus();
  return quota > 0 ? std::min(cpus, quota) : cpus;
}

void keep_off(pthread_t thread, int cpu) {
  alignas(cpu_set_t) Mask mask;
  if (!process_mask(mask)) return;
  if (cpu >= 0 && CPU_COUNT_S(kMaskBytes, mask.set()) > 1) {
    CPU_CLR_S(static_cast<std::size_t>(cpu), kMaskBytes, mask.set());
  }
  pthread_setaffinity_np(thread, kMaskBytes, mask.set());
}

std::int32_t quota_cpus(const std::string& cpu_max) {
  std::istringstream text(cpu_max);
  std::int64_t quota = 0;
  std::int64_t period = 0;
  if (!(text >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return static_cast<std::int32_t>(std::min<std::int64_t>((quota - 1) / period + 1, INT32_MAX));
}

}  // namespace rapt::cpu
