// SPDX-License-Identifier: Apache-2.0 OR MIT
// The functions of libcuda that rapt binds, by their names in the library.
#include "libcuda.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "backend/cuda/driver_api.h"

using namespace rapt::cuda;  // cuda.h has these names in no namespace

namespace {

struct Counts {
  std::atomic<std::int64_t> launches, loads, attributes, memory, copies, waits;
};
Counts counts;

// What handles point at.
char context, library, kernel, event, captured;

thread_local CUcontext current;
CUcontext primary() { return reinterpret_cast<CUcontext>(&context); }

// Fewer devices where a test says so, the environment being all that reaches a child.
int number(const char* name, int usual) {
  const char* value = std::getenv(name);
  return value == nullptr ? usual : std::atoi(value);
}

// Of one block (CUDA C programming guide, "Compute Capabilities").
int shared_bytes(int arch) {
  constexpr int kKiB = 1024;
  return (arch >= 90 ? 227 : arch >= 80 ? 163 : arch >= 75 ? 64 : 96) * kKiB;
}

CUresult allocate(void** memory, std::size_t bytes) {
  ++counts.memory;
  constexpr std::size_t kAlignment = 256;
  *memory = std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
  return *memory == nullptr ? kOutOfMemory : kSuccess;
}

CUresult release(void* memory) {
  ++counts.memory;
  std::free(memory);
  return kSuccess;
}

}  // namespace

extern "C" {

StandInCounts stand_in_counts() {
  return {counts.launches, counts.loads,  counts.attributes,
          counts.memory,   counts.copies, counts.waits};
}

void* stand_in_capturing_stream() { return &captured; }

CUresult cuInit(unsigned) { return kSuccess; }
CUresult cuDriverGetVersion(int* version) { return *version = 13000, kSuccess; }
// NVRTC asks it for a cache of the driver's, and does without one.
CUresult cuGetExportTable(const void** table, const void*) {
  constexpr CUresult kNotFound = 500;
  return *table = nullptr, kNotFound;
}
CUresult cuGetErrorName(CUresult, const char** name) {
  return *name = "CUDA_ERROR_UNKNOWN", kSuccess;
}

CUresult cuDeviceGetCount(int* count) {
  return *count = number("RAPT_STAND_IN_DEVICES", 1), kSuccess;
}
CUresult cuDeviceGet(CUdevice* device, int ordinal) { return *device = ordinal, kSuccess; }
CUresult cuDeviceGetName(char* name, int bytes, CUdevice) {
  std::snprintf(name, static_cast<std::size_t>(bytes), "Stand-in GPU");
  return kSuccess;
}
CUresult cuDeviceGetAttribute(int* value, int which, CUdevice) {
  const int arch = number("RAPT_STAND_IN_ARCH", 80);
  *value = which == kComputeCapabilityMajor   ? arch / 10
           : which == kComputeCapabilityMinor ? arch % 10
           : which == kMultiprocessorCount    ? 132
           : which == kMaxSharedBytesPerBlock ? shared_bytes(arch)
                                              : 0;
  return kSuccess;
}
CUresult cuDeviceTotalMem_v2(std::size_t* bytes, CUdevice) {
  return *bytes = std::size_t{1} << 30, kSuccess;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* made, CUdevice) { return *made = primary(), kSuccess; }
CUresult cuCtxGetCurrent(CUcontext* found) { return *found = current, kSuccess; }
CUresult cuCtxGetDevice(CUdevice* device) { return *device = 0, kSuccess; }
CUresult cuCtxPushCurrent_v2(CUcontext pushed) { return current = pushed, kSuccess; }
CUresult cuCtxPopCurrent_v2(CUcontext* popped) {
  *popped = current;
  current = nullptr;
  return kSuccess;
}
CUresult cuStreamGetCtx(CUstream, CUcontext* found) { return *found = primary(), kSuccess; }
CUresult cuStreamIsCapturing(CUstream stream, int* status) {
  *status = static_cast<void*>(stream) == &captured ? 1 : 0;
  return kSuccess;
}
CUresult cuStreamSynchronize(CUstream) { return ++counts.waits, kSuccess; }

CUresult cuLibraryLoadData(CUlibrary* made, const void*, int*, void**, unsigned, int*, void**,
                           unsigned) {
  ++counts.loads;
  *made = reinterpret_cast<CUlibrary>(&library);
  return kSuccess;
}
CUresult cuLibraryUnload(CUlibrary) { return kSuccess; }
CUresult cuLibraryGetKernel(CUkernel* found, CUlibrary, const char*) {
  return *found = reinterpret_cast<CUkernel>(&kernel), kSuccess;
}
CUresult cuKernelSetAttribute(int, int, CUkernel, CUdevice) {
  return ++counts.attributes, kSuccess;
}
CUresult cuLaunchKernelEx(const CUlaunchConfig*, CUkernel, void**, void**) {
  return ++counts.launches, kSuccess;
}

CUresult cuMemAlloc_v2(void** memory, std::size_t bytes) { return allocate(memory, bytes); }
CUresult cuMemFree_v2(void* memory) { return release(memory); }
CUresult cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return allocate(memory, bytes);
}
CUresult cuMemFreeHost(void* memory) { return release(memory); }
CUresult cuMemcpyAsync(void* to, const void* from, std::size_t bytes, CUstream) {
  std::memcpy(to, from, bytes);
  return ++counts.copies, kSuccess;
}
CUresult cuMemsetD8Async(void* memory, unsigned char value, std::size_t bytes, CUstream) {
  std::memset(memory, value, bytes);
  return ++counts.copies, kSuccess;
}
CUresult cuPointerGetAttribute(void* value, int, const void*) {
  return *static_cast<int*>(value) = 0, kSuccess;
}
CUresult cuMemAllocAsync(void** memory, std::size_t bytes, CUstream) {
  return allocate(memory, bytes);
}
CUresult cuMemFreeAsync(void* memory, CUstream) { return release(memory); }

CUresult cuEventCreate(CUevent* made, unsigned) {
  return *made = reinterpret_cast<CUevent>(&event), kSuccess;
}
CUresult cuEventDestroy_v2(CUevent) { return kSuccess; }
CUresult cuEventRecord(CUevent, CUstream) { return kSuccess; }
CUresult cuEventSynchronize(CUevent) { return ++counts.waits, kSuccess; }
CUresult cuEventElapsedTime(float* milliseconds, CUevent, CUevent) {
  return *milliseconds = 0, kSuccess;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap* map, int, std::uint32_t, void*, const std::uint64_t*,
                                const std::uint64_t*, const std::uint32_t*, const std::uint32_t*,
                                int, int, int, int) {
  return *map = {}, kSuccess;
}
}
