// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the operating system says of this machine: the CPU's name, its memory, and how many CPUs
// this process may use.
#pragma once
#include <pthread.h>

#include <cstdint>
#include <string>

namespace rapt::cpu {

std::string cpu_model();

std::int64_t memory_bytes();  // 0 = unknown

// CPUs that this process may use: its main thread's affinity mask and its cgroup quotas. At
// least 1.
std::int32_t usable_cpus();

// Lets `thread` run wherever the process's main thread may but on `cpu`; there too, if nothing else
// is left. (A worker starts with the mask of whichever thread made it, which may be pinned.)
void keep_off(pthread_t thread, int cpu);

// Whole CPUs of a cgroup v2 `cpu.max` text ("150000 100000" = 2), rounded up; 0 = no limit.
std::int32_t quota_cpus(const std::string& cpu_max);

}  // namespace rapt::cpu
