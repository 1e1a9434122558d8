// SPDX-License-Identifier: Apache-2.0 OR MIT
// The functions of libcuda that rapt and its tests' kit bind, by their names in the library.
#include "libcuda.h"

#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "../emulator/guarded_memory.h"
#include "../emulator/machine.h"
#include "../emulator/tensor_map.h"
#include "backend/cuda/driver_api.h"
#include "graph.h"

using namespace rapt::cuda;  // cuda.h has these names in no namespace
using rapt::stand_in::Graph;
using rapt::stand_in::NodeType;
using rapt::stand_in::Stream;

namespace {

struct Counts {
  std::atomic<std::int64_t> launches, loads, attributes, memory, copies, waits;
};
Counts counts;

// What handles point at.
char context, event;
Stream capturing = {std::make_shared<Graph>()};

constexpr CUresult kInvalidValue = 1, kLaunchFailed = 719, kNotSupported = 801;
constexpr CUresult kCaptureUnsupported = 900;

// A kernel of the emulator's compiler, or one for real GPUs, which has no entry.
struct Kernel {
  std::string name;
  rapt::emulator::Entry entry = nullptr;
  const std::size_t* parameter_bytes = nullptr;  // 0 behind the last
  std::size_t most_shared_bytes = 48 << 10;      // without an attribute that says more
};

std::atomic<bool> emulates = false;  // it has kernels of the emulator's compiler

// In a file that stays open: dlopen knows libraries by their paths, here a descriptor's number.
struct Library {
  int file = -1;
  void* handle = nullptr;
  std::map<std::string, Kernel> kernels;

  bool open(const void* image, std::size_t bytes) {
    file = memfd_create("kernel", MFD_CLOEXEC);
    if (file < 0 || write(file, image, bytes) != static_cast<ssize_t>(bytes)) return false;
    const std::string path = "/proc/self/fd/" + std::to_string(file);
    handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) std::fprintf(stderr, "emulated GPU: %s\n", dlerror());
    emulates = true;
    return handle != nullptr;
  }

  Library() = default;
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() {
    if (handle != nullptr) dlclose(handle);
    if (file >= 0) close(file);
  }
};

// Captures that are under way: meanwhile nothing may allocate, load or wait, in any thread.
std::atomic<int> captures = 0;

// Null where the stream does what it is told.
Graph* graph_of(CUstream stream) {
  return stream == nullptr ? nullptr : reinterpret_cast<Stream*>(stream)->captured.get();
}

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

constexpr int kGarbage = 0xff;  // what memory begins as: NaN

// Ends at a page that nobody may touch, as far as alignment allows.
CUresult allocate(void** memory, std::size_t bytes) {
  ++counts.memory;
  if (captures > 0) return kCaptureUnsupported;
  *memory = rapt::emulator::allocate_guarded(bytes, 256);
  if (*memory == nullptr) return kOutOfMemory;
  std::memset(*memory, kGarbage, bytes);
  return kSuccess;
}

CUresult release(void* memory) {
  ++counts.memory;
  rapt::emulator::release_guarded(memory);
  return kSuccess;
}

// Quickly, as from a pool; warm calls do.
CUresult allocate_pooled(void** memory, std::size_t bytes) {
  ++counts.memory;
  constexpr std::size_t kAlignment = 256;
  *memory = std::aligned_alloc(kAlignment, (bytes / kAlignment + 1) * kAlignment);
  if (*memory == nullptr) return kOutOfMemory;
  if (emulates) std::memset(*memory, kGarbage, bytes);
  return kSuccess;
}

CUresult release_pooled(void* memory) {
  ++counts.memory;
  std::free(memory);
  return kSuccess;
}

// The bytes of a library that the emulator's compiler made; 0 of a cubin.
std::size_t bytes_of_library(const void* image) {
  Elf64_Ehdr header;
  std::memcpy(&header, image, sizeof header);
  constexpr Elf64_Half kCuda = 190;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine == kCuda) return 0;
  return header.e_shoff + std::size_t{header.e_shentsize} * header.e_shnum;
}

CUresult run(const CUlaunchConfig& launch, const Kernel& kernel, void** parameters) {
  if (launch.shared_bytes > kernel.most_shared_bytes) return kInvalidValue;
  const std::string error = rapt::emulator::run({kernel.name,
                                                 kernel.entry,
                                                 {launch.grid_x, launch.grid_y, launch.grid_z},
                                                 {launch.block_x, launch.block_y, launch.block_z},
                                                 launch.shared_bytes,
                                                 parameters});
  if (error.empty()) return kSuccess;
  std::fprintf(stderr, "emulated GPU: %s\n", error.c_str());
  return kLaunchFailed;
}

}  // namespace

extern "C" {

StandInCounts stand_in_counts() {
  return {counts.launches, counts.loads,  counts.attributes,
          counts.memory,   counts.copies, counts.waits};
}

void* stand_in_capturing_stream() { return &capturing; }

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
CUresult cuGetErrorString(CUresult, const char** text) {
  return *text = "the stand-in refuses", kSuccess;
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
  *status = graph_of(stream) != nullptr ? 1 : 0;
  return kSuccess;
}
CUresult cuStreamSynchronize(CUstream) {
  ++counts.waits;
  return captures > 0 ? kCaptureUnsupported : kSuccess;
}

CUresult cuLibraryLoadData(CUlibrary* made, const void* image, int*, void**, unsigned, int*, void**,
                           unsigned) {
  ++counts.loads;
  if (captures > 0) return kCaptureUnsupported;
  auto* library = new Library;
  *made = reinterpret_cast<CUlibrary>(library);
  const std::size_t bytes = bytes_of_library(image);
  return bytes == 0 || library->open(image, bytes) ? kSuccess : kInvalidValue;
}
CUresult cuLibraryUnload(CUlibrary handle) {
  delete reinterpret_cast<Library*>(handle);
  return kSuccess;
}
CUresult cuLibraryGetKernel(CUkernel* found, CUlibrary handle, const char* name) {
  auto& library = *reinterpret_cast<Library*>(handle);
  Kernel& kernel = library.kernels[name];
  kernel.name = name;
  if (library.handle != nullptr) {
    const std::string symbol = std::string("rapt_emulated_") + name;
    kernel.entry = reinterpret_cast<rapt::emulator::Entry>(dlsym(library.handle, symbol.c_str()));
    kernel.parameter_bytes =
        static_cast<const std::size_t*>(dlsym(library.handle, (symbol + "_bytes").c_str()));
    if (kernel.entry == nullptr || kernel.parameter_bytes == nullptr) return kInvalidValue;
  }
  return *found = reinterpret_cast<CUkernel>(&kernel), kSuccess;
}
CUresult cuKernelSetAttribute(int which, int value, CUkernel handle, CUdevice) {
  ++counts.attributes;
  auto& kernel = *reinterpret_cast<Kernel*>(handle);
  if (which == kMaxDynamicSharedBytes) kernel.most_shared_bytes = static_cast<std::size_t>(value);
  return kSuccess;
}
CUresult cuLaunchKernelEx(const CUlaunchConfig* launch, CUkernel handle, void** parameters,
                          void**) {
  ++counts.launches;
  const auto& kernel = *reinterpret_cast<const Kernel*>(handle);
  if (kernel.entry == nullptr) return kSuccess;
  Graph* graph = graph_of(launch->stream);
  if (graph == nullptr) return run(*launch, kernel, parameters);
  auto kept = rapt::stand_in::kept_parameters(*graph, parameters, kernel.parameter_bytes);
  graph->add(NodeType::kernel, [launch = *launch, &kernel, kept]() mutable {
    return run(launch, kernel, kept.data());
  });
  return kSuccess;
}

CUresult cuMemAlloc_v2(void** memory, std::size_t bytes) { return allocate(memory, bytes); }
CUresult cuMemFree_v2(void* memory) { return release(memory); }
CUresult cuMemHostAlloc(void** memory, std::size_t bytes, unsigned) {
  return allocate_pooled(memory, bytes);
}
CUresult cuMemFreeHost(void* memory) { return release_pooled(memory); }
CUresult cuMemcpyAsync(void* to, const void* from, std::size_t bytes, CUstream stream) {
  ++counts.copies;
  const auto copy = [=] { return std::memcpy(to, from, bytes), kSuccess; };
  Graph* graph = graph_of(stream);
  return graph == nullptr ? copy() : (graph->add(NodeType::copy, copy), kSuccess);
}
CUresult cuMemsetD8Async(void* memory, unsigned char value, std::size_t bytes, CUstream stream) {
  ++counts.copies;
  const auto fill = [=] { return std::memset(memory, value, bytes), kSuccess; };
  Graph* graph = graph_of(stream);
  return graph == nullptr ? fill() : (graph->add(NodeType::fill, fill), kSuccess);
}
CUresult cuPointerGetAttribute(void* value, int, const void*) {
  return *static_cast<int*>(value) = 0, kSuccess;
}
CUresult cuMemAllocAsync(void** memory, std::size_t bytes, CUstream stream) {
  Graph* graph = graph_of(stream);
  if (graph == nullptr) return allocate_pooled(memory, bytes);
  *memory = graph->keep(bytes);
  graph->add(NodeType::allocation, [] { return kSuccess; });
  return kSuccess;
}
CUresult cuMemFreeAsync(void* memory, CUstream stream) {
  Graph* graph = graph_of(stream);
  if (graph == nullptr) return release_pooled(memory);
  graph->add(NodeType::release, [] { return kSuccess; });
  return kSuccess;
}

CUresult cuEventCreate(CUevent* made, unsigned) {
  return *made = reinterpret_cast<CUevent>(&event), kSuccess;
}
CUresult cuEventDestroy_v2(CUevent) { return kSuccess; }
CUresult cuEventRecord(CUevent, CUstream) { return kSuccess; }
CUresult cuEventSynchronize(CUevent) { return ++counts.waits, kSuccess; }
CUresult cuEventElapsedTime(float* milliseconds, CUevent, CUevent) {
  return *milliseconds = 0, kSuccess;
}

CUresult cuTensorMapEncodeTiled(CUtensorMap* made, int type, std::uint32_t rank, void* data,
                                const std::uint64_t* shape, const std::uint64_t* byte_strides,
                                const std::uint32_t* box, const std::uint32_t*, int, int swizzle,
                                int, int) {
  using Map = rapt::emulator::TensorMap;
  Map map = {};
  if (rank < 1 || rank > Map::kMaxRank) return kInvalidValue;
  map.data = static_cast<unsigned char*>(data);
  map.rank = static_cast<std::uint8_t>(rank);
  map.element_bytes = type == kTensorUint8 ? 1 : type == kTensorFp32 ? 4 : 2;
  map.swizzle = static_cast<std::uint8_t>(swizzle);
  map.made = rapt::emulator::kMade;
  for (std::uint32_t i = 0; i < rank; ++i) {
    map.shape[i] = shape[i];
    map.box[i] = box[i];
    if (i > 0) map.byte_strides[i - 1] = byte_strides[i - 1];
  }
  if (!is_valid(map)) return kInvalidValue;
  *made = {};
  std::memcpy(made, &map, sizeof map);
  return kSuccess;
}

// What only the tests' kit asks for. Everything is done by the time a call returns.
CUresult cuCtxSetCurrent(CUcontext set) { return current = set, kSuccess; }
CUresult cuCtxCreate_v2(CUcontext* made, unsigned, CUdevice) {
  return current = *made = reinterpret_cast<CUcontext>(new char), kSuccess;
}
CUresult cuCtxDestroy_v2(CUcontext destroyed) {
  if (current == destroyed) current = nullptr;
  delete reinterpret_cast<char*>(destroyed);
  return kSuccess;
}
CUresult cuCtxSynchronize() { return ++counts.waits, kSuccess; }
CUresult cuMemcpyHtoD_v2(void* to, const void* from, std::size_t bytes) {
  return cuMemcpyAsync(to, from, bytes, nullptr);
}
CUresult cuMemcpyDtoH_v2(void* to, const void* from, std::size_t bytes) {
  return cuMemcpyAsync(to, from, bytes, nullptr);
}
CUresult cuMemcpyDtoD_v2(void* to, const void* from, std::size_t bytes) {
  return cuMemcpyAsync(to, from, bytes, nullptr);
}
CUresult cuMemcpyDtoDAsync_v2(void* to, const void* from, std::size_t bytes, CUstream on) {
  return cuMemcpyAsync(to, from, bytes, on);
}
CUresult cuMemsetD8_v2(void* memory, unsigned char value, std::size_t bytes) {
  return cuMemsetD8Async(memory, value, bytes, nullptr);
}
CUresult cuStreamCreate(CUstream* made, unsigned) {
  return *made = reinterpret_cast<CUstream>(new Stream), kSuccess;
}
CUresult cuStreamDestroy_v2(CUstream stream) {
  delete reinterpret_cast<Stream*>(stream);
  return kSuccess;
}
CUresult cuStreamBeginCapture_v2(CUstream stream, int) {
  ++captures;
  reinterpret_cast<Stream*>(stream)->captured = std::make_shared<Graph>();
  return kSuccess;
}

// Handles of graphs, executable or not, share what was captured.
CUresult cuStreamEndCapture(CUstream stream, void** graph) {
  --captures;
  *graph = new auto(std::move(reinterpret_cast<Stream*>(stream)->captured));
  return kSuccess;
}
CUresult cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long) {
  return *executable = new auto(*static_cast<std::shared_ptr<Graph>*>(graph)), kSuccess;
}
CUresult cuGraphLaunch(void* executable, CUstream) {
  return (*static_cast<std::shared_ptr<Graph>*>(executable))->run();
}
CUresult cuGraphExecDestroy(void* executable) {
  delete static_cast<std::shared_ptr<Graph>*>(executable);
  return kSuccess;
}
CUresult cuGraphDestroy(void* graph) { return cuGraphExecDestroy(graph); }
CUresult cuGraphGetNodes(void* graph, const void** nodes, std::size_t* count) {
  const Graph& captured = **static_cast<std::shared_ptr<Graph>*>(graph);
  for (std::size_t i = 0; nodes != nullptr && i < *count; ++i) nodes[i] = captured.node(i);
  return *count = captured.size(), kSuccess;
}
CUresult cuGraphNodeGetType(const void* node, int* type) {
  return *type = static_cast<int>(*static_cast<const NodeType*>(node)), kSuccess;
}
CUresult cuModuleLoadData(void**, const void*) { return kNotSupported; }
CUresult cuModuleUnload(void*) { return kSuccess; }
CUresult cuModuleGetFunction(void**, void*, const char*) { return kNotSupported; }
CUresult cuLaunchKernel(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                        CUstream, void**, void**) {
  return kNotSupported;
}
}
