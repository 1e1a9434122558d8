// SPDX-License-Identifier: Apache-2.0 OR MIT
// Binds libcuda and turns its codes into sentences. CUDA 12.0 is the oldest driver wanted: NVRTC 12
// and newer (the first with C++20) makes cubins that older drivers refuse, so older ways to load
// are useless.
#include "backend/cuda/driver.h"

#include <algorithm>
#include <utility>

#include "backend/shared_library.h"

namespace rapt::cuda {
namespace {

constexpr int kOldestVersion = 12000;

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// The default streams (null, legacy, per thread) belong to whichever context is current.
bool names_its_context(CUstream stream) { return reinterpret_cast<std::uintptr_t>(stream) > 2; }

void bind_devices(SharedLibrary& library, DriverApi& api) {
  library.bind(api.init, "cuInit");
  library.bind(api.driver_get_version, "cuDriverGetVersion");
  library.bind(api.get_error_name, "cuGetErrorName");
  library.bind(api.device_get_count, "cuDeviceGetCount");
  library.bind(api.device_get, "cuDeviceGet");
  library.bind(api.device_get_name, "cuDeviceGetName");
  library.bind(api.device_get_attribute, "cuDeviceGetAttribute");
  library.bind(api.device_total_mem, "cuDeviceTotalMem_v2");
}

void bind_contexts(SharedLibrary& library, DriverApi& api) {
  library.bind(api.device_primary_ctx_retain, "cuDevicePrimaryCtxRetain");
  library.bind(api.ctx_get_current, "cuCtxGetCurrent");
  library.bind(api.ctx_get_device, "cuCtxGetDevice");
  library.bind(api.ctx_push_current, "cuCtxPushCurrent_v2");
  library.bind(api.ctx_pop_current, "cuCtxPopCurrent_v2");
  library.bind(api.stream_get_ctx, "cuStreamGetCtx");
  library.bind(api.stream_is_capturing, "cuStreamIsCapturing");
  library.bind(api.stream_synchronize, "cuStreamSynchronize");
}

void bind_kernels(SharedLibrary& library, DriverApi& api) {
  library.bind(api.library_load_data, "cuLibraryLoadData");
  library.bind(api.library_unload, "cuLibraryUnload");
  library.bind(api.library_get_kernel, "cuLibraryGetKernel");
  library.bind(api.kernel_set_attribute, "cuKernelSetAttribute");
  library.bind(api.launch_kernel_ex, "cuLaunchKernelEx");
}

void bind_memory(SharedLibrary& library, DriverApi& api) {
  library.bind(api.mem_alloc, "cuMemAlloc_v2");
  library.bind(api.mem_free, "cuMemFree_v2");
  library.bind(api.mem_host_alloc, "cuMemHostAlloc");
  library.bind(api.mem_free_host, "cuMemFreeHost");
  library.bind(api.memcpy_async, "cuMemcpyAsync");
  library.bind(api.memset_d8_async, "cuMemsetD8Async");
  library.bind(api.pointer_get_attribute, "cuPointerGetAttribute");
  library.bind(api.mem_alloc_async, "cuMemAllocAsync");
  library.bind(api.mem_free_async, "cuMemFreeAsync");
  library.bind(api.tensor_map_encode_tiled, "cuTensorMapEncodeTiled");
}

void bind_events(SharedLibrary& library, DriverApi& api) {
  library.bind(api.event_create, "cuEventCreate");
  library.bind(api.event_destroy, "cuEventDestroy_v2");
  library.bind(api.event_record, "cuEventRecord");
  library.bind(api.event_synchronize, "cuEventSynchronize");
  library.bind(api.event_elapsed_time, "cuEventElapsedTime");
}

Status driver_refuses(std::string why) { return {RAPT_DEVICE_ERROR, "driver: " + std::move(why)}; }

Status check_version(int version) {
  if (version >= kOldestVersion) return {};
  return driver_refuses("it speaks CUDA " + version_text(version) + ", " +
                        version_text(kOldestVersion) + " or newer is wanted");
}

}  // namespace

const Driver& Driver::system() {
  static const Driver& driver = *new Driver(open());  // static destructors may still call
  return driver;
}

Driver Driver::open() {
  SharedLibrary library("libcuda.so.1");
  DriverApi api{};
  bind_devices(library, api);
  // An old driver lacks functions; its version is the better sentence.
  int version = 0;
  if (api.driver_get_version != nullptr && api.driver_get_version(&version) == kSuccess) {
    if (Status status = check_version(version); !status.ok()) return Driver(std::move(status));
  }
  bind_contexts(library, api);
  bind_kernels(library, api);
  bind_memory(library, api);
  bind_events(library, api);
  if (!library.error().empty()) return Driver(driver_refuses(library.error()));
  return Driver(api);
}

Driver::Driver(const DriverApi& api) : api_(api) { status_ = list_devices(); }

Status Driver::list_devices() {
  RAPT_RETURN_IF_ERROR(check(api_.driver_get_version(&version_), "cuDriverGetVersion"));
  RAPT_RETURN_IF_ERROR(check_version(version_));
  RAPT_RETURN_IF_ERROR(check(api_.init(0), "cuInit"));
  int count = 0;
  RAPT_RETURN_IF_ERROR(check(api_.device_get_count(&count), "cuDeviceGetCount"));
  if (count == 0) return driver_refuses("it lists no device");
  devices_.resize(static_cast<std::size_t>(count));
  primary_ = std::make_unique<std::atomic<CUcontext>[]>(devices_.size());
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    RAPT_RETURN_IF_ERROR(describe(ordinal, devices_[static_cast<std::size_t>(ordinal)]));
  }
  return {};
}

Status Driver::describe(int ordinal, Device& device) const {
  const std::string detail = "device " + std::to_string(ordinal);
  char name[128] = {};
  int major = 0;
  int minor = 0;
  RAPT_RETURN_IF_ERROR(check(api_.device_get(&device.handle, ordinal), "cuDeviceGet", detail));
  RAPT_RETURN_IF_ERROR(
      check(api_.device_get_name(name, sizeof name, device.handle), "cuDeviceGetName", detail));
  RAPT_RETURN_IF_ERROR(check(api_.device_total_mem(&device.memory_bytes, device.handle),
                             "cuDeviceTotalMem", detail));
  const std::pair<int, int*> wanted[] = {{kComputeCapabilityMajor, &major},
                                         {kComputeCapabilityMinor, &minor},
                                         {kMultiprocessorCount, &device.multiprocessors},
                                         {kMaxSharedBytesPerBlock, &device.max_shared_bytes}};
  for (const auto& [attribute, value] : wanted) {
    RAPT_RETURN_IF_ERROR(check(api_.device_get_attribute(value, attribute, device.handle),
                               "cuDeviceGetAttribute", detail));
  }
  device.name = name;
  device.arch = arch_of(major, minor);
  return {};
}

Status Driver::check(CUresult result, const char* function, const std::string& detail) const {
  if (result == kSuccess) return {};
  const char* name = nullptr;
  if (api_.get_error_name(result, &name) != kSuccess || name == nullptr) name = "unknown error";
  std::string sentence = std::string(function) + ": " + name;
  if (!detail.empty()) sentence += " (" + detail + ")";
  return {result == kOutOfMemory ? RAPT_OUT_OF_MEMORY : RAPT_DEVICE_ERROR, std::move(sentence)};
}

Status Driver::load(std::span<const std::byte> cubin, const char* entry, CUkernel& kernel) const {
  CUlibrary library = nullptr;
  RAPT_RETURN_IF_ERROR(check(
      api_.library_load_data(&library, cubin.data(), nullptr, nullptr, 0, nullptr, nullptr, 0),
      "cuLibraryLoadData", entry));
  Status status =
      check(api_.library_get_kernel(&kernel, library, entry), "cuLibraryGetKernel", entry);
  if (!status.ok()) api_.library_unload(library);
  return status;
}

Status Driver::allow_shared_bytes(CUkernel kernel, const Device& device,
                                  std::uint32_t bytes) const {
  return check(api_.kernel_set_attribute(kMaxDynamicSharedBytes, static_cast<int>(bytes), kernel,
                                         device.handle),
               "cuKernelSetAttribute", std::to_string(bytes) + " bytes of shared memory");
}

Status Driver::launch(const Launch& launch, void** parameters) const {
  CUlaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (launch.cluster > 1) {
    attributes[count].id = kLaunchClusterDimension;
    attributes[count++].value.cluster = {launch.cluster, 1, 1};
  }
  if (launch.programmatic) {
    attributes[count].id = kLaunchProgrammaticSerialization;
    attributes[count++].value.flag = 1;
  }
  const CUlaunchConfig config = {
      launch.grid.x,  launch.grid.y,       launch.grid.z, launch.block.x, launch.block.y,
      launch.block.z, launch.shared_bytes, launch.stream, attributes,     count};
  const CUresult result = api_.launch_kernel_ex(&config, launch.kernel, parameters, nullptr);
  if (result == kSuccess) return {};  // no strings on the way
  return check(result, "cuLaunchKernelEx",
               std::string(launch.name) + ", grid " + std::to_string(launch.grid.x) + " x " +
                   std::to_string(launch.grid.y) + " x " + std::to_string(launch.grid.z));
}

Status Driver::allocate(std::size_t bytes, void*& memory) const {
  return check(api_.mem_alloc(&memory, bytes), "cuMemAlloc", std::to_string(bytes) + " bytes");
}

Status Driver::release(void* memory) const { return check(api_.mem_free(memory), "cuMemFree"); }

Status Driver::allocate_pinned(std::size_t bytes, void*& memory) const {
  return check(api_.mem_host_alloc(&memory, bytes, 0), "cuMemHostAlloc",
               std::to_string(bytes) + " bytes");
}

Status Driver::release_pinned(void* memory) const {
  return check(api_.mem_free_host(memory), "cuMemFreeHost");
}

Status Driver::copy(void* to, const void* from, std::size_t bytes, CUstream stream) const {
  return check(api_.memcpy_async(to, from, bytes, stream), "cuMemcpyAsync");
}

Status Driver::read_back(const void* from, std::span<std::byte> to, CUstream stream) const {
  RAPT_RETURN_IF_ERROR(copy(to.data(), from, to.size(), stream));
  return synchronize(stream);
}

Status Driver::fill(void* memory, unsigned char value, std::size_t bytes, CUstream stream) const {
  return check(api_.memset_d8_async(memory, value, bytes, stream), "cuMemsetD8Async");
}

Status Driver::synchronize(CUstream stream) const {
  return check(api_.stream_synchronize(stream), "cuStreamSynchronize");
}

Status Driver::is_capturing(CUstream stream, bool& capturing) const {
  int status = 0;
  RAPT_RETURN_IF_ERROR(check(api_.stream_is_capturing(stream, &status), "cuStreamIsCapturing"));
  capturing = status != 0;
  return {};
}

Status Driver::allocate_async(std::size_t bytes, void*& memory, CUstream stream) const {
  return check(api_.mem_alloc_async(&memory, bytes, stream), "cuMemAllocAsync",
               std::to_string(bytes) + " bytes");
}

Status Driver::release_async(void* memory, CUstream stream) const {
  return check(api_.mem_free_async(memory, stream), "cuMemFreeAsync");
}

Status Driver::create_event(Timing timing, CUevent& event) const {
  const unsigned flags = timing == Timing::on ? 0 : kEventDisableTiming;
  return check(api_.event_create(&event, flags), "cuEventCreate");
}

Status Driver::destroy_event(CUevent event) const {
  return check(api_.event_destroy(event), "cuEventDestroy");
}

Status Driver::record(CUevent event, CUstream stream) const {
  return check(api_.event_record(event, stream), "cuEventRecord");
}

Status Driver::await(CUevent event) const {
  return check(api_.event_synchronize(event), "cuEventSynchronize");
}

Status Driver::elapsed(CUevent from, CUevent to, float& milliseconds) const {
  return check(api_.event_elapsed_time(&milliseconds, from, to), "cuEventElapsedTime");
}

Status Driver::encode(const TiledTensor& tensor, CUtensorMap& map) const {
  constexpr std::uint32_t kDense[TiledTensor::kMaxRank] = {1, 1, 1, 1, 1};
  constexpr int kNoInterleave = 0;
  constexpr int kZeros = 0;  // CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE
  const CUresult result = api_.tensor_map_encode_tiled(
      &map, tensor.type, tensor.rank, tensor.data, tensor.shape, tensor.byte_strides, tensor.box,
      kDense, kNoInterleave, tensor.swizzle, tensor.promotion, kZeros);
  if (result == kSuccess) return {};  // no strings on the way
  return check(result, "cuTensorMapEncodeTiled", "rank " + std::to_string(tensor.rank));
}

Status Driver::device_of(const void* memory, int& ordinal) const {
  return check(api_.pointer_get_attribute(&ordinal, kPointerDeviceOrdinal, memory),
               "cuPointerGetAttribute");
}

Status Driver::primary_context(int ordinal, CUcontext& context) const {
  if (ordinal < 0 || static_cast<std::size_t>(ordinal) >= devices_.size()) {
    return invalid("device_index: it is " + std::to_string(ordinal) + ", this machine has " +
                   std::to_string(devices_.size()) + " CUDA devices");
  }
  const auto index = static_cast<std::size_t>(ordinal);
  context = primary_[index].load(std::memory_order_acquire);
  if (context != nullptr) return {};
  // Two threads may both retain; each time is the same context, and one count too many is harmless.
  RAPT_RETURN_IF_ERROR(check(api_.device_primary_ctx_retain(&context, devices_[index].handle),
                             "cuDevicePrimaryCtxRetain", "device " + std::to_string(ordinal)));
  primary_[index].store(context, std::memory_order_release);
  return {};
}

ContextScope::ContextScope(const Driver& driver, int ordinal, CUstream stream)
    : driver_(driver), status_(driver.status()) {
  if (status_.ok()) status_ = enter(ordinal, stream);
}

ContextScope::~ContextScope() {
  CUcontext popped = nullptr;
  if (pushed_) driver_.api().ctx_pop_current(&popped);
}

Status ContextScope::enter(int ordinal, CUstream stream) {
  const DriverApi& api = driver_.api();
  CUcontext current = nullptr;
  CUcontext wanted = nullptr;
  RAPT_RETURN_IF_ERROR(driver_.check(api.ctx_get_current(&current), "cuCtxGetCurrent"));
  // A stream of a green context answers an error here: the driver then takes the current context.
  if (!names_its_context(stream) || api.stream_get_ctx(stream, &wanted) != kSuccess) {
    if (current != nullptr && current_device() == ordinal) return {};
    RAPT_RETURN_IF_ERROR(driver_.primary_context(ordinal, wanted));
  }
  if (wanted != current) {
    RAPT_RETURN_IF_ERROR(driver_.check(api.ctx_push_current(wanted), "cuCtxPushCurrent"));
    pushed_ = true;
  }
  const int found = current_device();
  if (found == ordinal) return {};
  return invalid("stream: it belongs to CUDA device " + std::to_string(found) +
                 ", the tensors are on device " + std::to_string(ordinal));
}

int ContextScope::current_device() const {
  CUdevice device = 0;
  if (driver_.api().ctx_get_device(&device) != kSuccess) return -1;
  const std::vector<Device>& devices = driver_.devices();
  const auto at = std::find_if(devices.begin(), devices.end(),
                               [&](const Device& one) { return one.handle == device; });
  return at == devices.end() ? -1 : static_cast<int>(at - devices.begin());
}

}  // namespace rapt::cuda
