// SPDX-License-Identifier: Apache-2.0 OR MIT
// The part of libcuda that rapt calls, declared by us so that no toolkit is needed: types of cuda.h
// (CUDA 12.0 and newer; unchanged in 13), and a table of functions that tests can fill with their
// own.
#pragma once
#include <cstddef>
#include <cstdint>

namespace rapt::cuda {

using CUresult = int;
using CUdevice = int;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUlibrary = struct CUlib_st*;
using CUevent = struct CUevent_st*;
using CUkernel = struct CUkern_st*;  // serves every context, where a CUfunction belongs to one

inline constexpr CUresult kSuccess = 0;
inline constexpr CUresult kOutOfMemory = 2;

// CUdevice_attribute
inline constexpr int kMultiprocessorCount = 16;
inline constexpr int kComputeCapabilityMajor = 75;
inline constexpr int kComputeCapabilityMinor = 76;
inline constexpr int kMaxSharedBytesPerBlock = 97;  // with opt-in

// CUfunction_attribute
inline constexpr int kMaxDynamicSharedBytes = 8;

// CUpointer_attribute
inline constexpr int kPointerDeviceOrdinal = 9;

// CUlaunchAttributeID
inline constexpr int kLaunchClusterDimension = 4;
inline constexpr int kLaunchProgrammaticSerialization = 6;

// CUevent_flags
inline constexpr unsigned kEventDisableTiming = 2;

// CUtensorMapDataType
inline constexpr int kTensorUint8 = 0;
inline constexpr int kTensorFp16 = 6;
inline constexpr int kTensorFp32 = 7;
inline constexpr int kTensorBf16 = 9;

// CUtensorMapSwizzle, by the bytes of a row of the box
inline constexpr int kSwizzleNone = 0;
inline constexpr int kSwizzle32 = 1;
inline constexpr int kSwizzle64 = 2;
inline constexpr int kSwizzle128 = 3;

// CUtensorMapL2promotion
inline constexpr int kPromoteNone = 0;
inline constexpr int kPromote64 = 1;
inline constexpr int kPromote128 = 2;
inline constexpr int kPromote256 = 3;

// What the tensor memory accelerator reads: opaque, and a launch parameter by value.
struct alignas(64) CUtensorMap {
  std::uint64_t opaque[16];
};
static_assert(sizeof(CUtensorMap) == 128);

struct CUlaunchAttribute {
  int id;
  char pad[4];
  union {
    char bytes[64];
    struct {
      unsigned x, y, z;
    } cluster;
    int flag;
  } value;
};
static_assert(sizeof(CUlaunchAttribute) == 72);

struct CUlaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  CUstream stream;
  CUlaunchAttribute* attributes;
  unsigned attribute_count;
};
static_assert(sizeof(CUlaunchConfig) == 56);

struct DriverApi {
  CUresult (*init)(unsigned flags);
  CUresult (*driver_get_version)(int* version);
  CUresult (*get_error_name)(CUresult, const char** name);

  CUresult (*device_get_count)(int* count);
  CUresult (*device_get)(CUdevice*, int ordinal);
  CUresult (*device_get_name)(char* name, int bytes, CUdevice);
  CUresult (*device_get_attribute)(int* value, int attribute, CUdevice);
  CUresult (*device_total_mem)(std::size_t* bytes, CUdevice);

  CUresult (*device_primary_ctx_retain)(CUcontext*, CUdevice);
  CUresult (*ctx_get_current)(CUcontext*);
  CUresult (*ctx_get_device)(CUdevice*);
  CUresult (*ctx_push_current)(CUcontext);
  CUresult (*ctx_pop_current)(CUcontext*);
  CUresult (*stream_get_ctx)(CUstream, CUcontext*);
  CUresult (*stream_is_capturing)(CUstream, int* status);
  CUresult (*stream_synchronize)(CUstream);

  CUresult (*library_load_data)(CUlibrary*, const void* code, int* jit_options, void** jit_values,
                                unsigned jit_count, int* options, void** values, unsigned count);
  CUresult (*library_unload)(CUlibrary);
  CUresult (*library_get_kernel)(CUkernel*, CUlibrary, const char* name);
  CUresult (*kernel_set_attribute)(int attribute, int value, CUkernel, CUdevice);
  CUresult (*launch_kernel_ex)(const CUlaunchConfig*, CUkernel, void** parameters, void** extra);

  // cuda.h has 64-bit integers (CUdeviceptr) for device memory; pointers travel alike.
  CUresult (*mem_alloc)(void**, std::size_t bytes);
  CUresult (*mem_free)(void*);
  CUresult (*mem_host_alloc)(void**, std::size_t bytes, unsigned flags);
  CUresult (*mem_free_host)(void*);
  CUresult (*memcpy_async)(void* to, const void* from, std::size_t bytes, CUstream);
  CUresult (*memset_d8_async)(void*, unsigned char value, std::size_t bytes, CUstream);
  CUresult (*pointer_get_attribute)(void* value, int attribute, const void*);
  CUresult (*mem_alloc_async)(void**, std::size_t bytes, CUstream);
  CUresult (*mem_free_async)(void*, CUstream);

  CUresult (*event_create)(CUevent*, unsigned flags);
  CUresult (*event_destroy)(CUevent);
  CUresult (*event_record)(CUevent, CUstream);
  CUresult (*event_synchronize)(CUevent);
  CUresult (*event_elapsed_time)(float* milliseconds, CUevent from, CUevent to);

  CUresult (*tensor_map_encode_tiled)(CUtensorMap*, int type, std::uint32_t rank, void* data,
                                      const std::uint64_t* shape, const std::uint64_t* byte_strides,
                                      const std::uint32_t* box,
                                      const std::uint32_t* element_strides, int interleave,
                                      int swizzle, int promotion, int fill);
};

}  // namespace rapt::cuda
