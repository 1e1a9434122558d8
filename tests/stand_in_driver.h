// SPDX-License-Identifier: Apache-2.0 OR MIT
// A libcuda of functions that tests bring, with the devices that a test wants, for every machine.
#pragma once
#include <cstdio>

#include "backend/cuda/driver_api.h"

namespace rapt::test {

// What the stand-in answers; `pretend(...)` sets it.
struct Pretended {
  int version = 13000;
  int count = 2;
  int major = 9;
  int minor = 0;
};
inline Pretended pretended;

inline cuda::CUresult pretended_attribute(int* value, int which, cuda::CUdevice) {
  *value = which == cuda::kComputeCapabilityMajor   ? pretended.major
           : which == cuda::kComputeCapabilityMinor ? pretended.minor
           : which == cuda::kMultiprocessorCount    ? 132
           : which == cuda::kMaxSharedBytesPerBlock ? 232448
                                                    : 0;
  return cuda::kSuccess;
}

// The functions that list devices.
inline cuda::DriverApi pretend(const Pretended& machine = {}) {
  pretended = machine;
  cuda::DriverApi api{};
  api.init = [](unsigned) { return cuda::kSuccess; };
  api.driver_get_version = [](int* version) {
    return *version = pretended.version, cuda::kSuccess;
  };
  api.get_error_name = [](cuda::CUresult error, const char** name) {
    *name = error == cuda::kOutOfMemory ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_ILLEGAL_ADDRESS";
    return cuda::kSuccess;
  };
  api.device_get_count = [](int* count) { return *count = pretended.count, cuda::kSuccess; };
  api.device_get = [](cuda::CUdevice* device, int ordinal) {
    return *device = ordinal, cuda::kSuccess;
  };
  api.device_get_name = [](char* name, int bytes, cuda::CUdevice) {
    std::snprintf(name, static_cast<std::size_t>(bytes), "Test GPU");
    return cuda::kSuccess;
  };
  api.device_get_attribute = pretended_attribute;
  api.device_total_mem = [](std::size_t* bytes, cuda::CUdevice) {
    return *bytes = 1 << 20, cuda::kSuccess;
  };
  return api;
}

}  // namespace rapt::test
