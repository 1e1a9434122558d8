// SPDX-License-Identifier: Apache-2.0 OR MIT
// libcuda.so.1 by dlopen. Types and numbers are those of cuda.h of CUDA 12, which later drivers
// keep serving under the same names.
#include "kit/cuda.h"

#include <dlfcn.h>

#include <memory>

namespace rapt::kit::cuda {
namespace {

using Address = std::uintptr_t;  // CUdeviceptr
using Size = std::size_t;

enum Attribute { kClockRate = 13, kMultiprocessors = 16, kL2Bytes = 38, kMajor = 75, kMinor = 76 };
constexpr unsigned kNonBlocking = 1;
constexpr int kCaptureGlobal = 0;

// The driver's functions; a call answers 0 or an error.
template <class... Arguments>
struct Function {
  int (*call)(Arguments...) = nullptr;
  const char* name = "";

  int operator()(Arguments... arguments) const { return call(arguments...); }
};

struct Driver {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  std::string missing;  // a function that this driver lacks

  template <class... Arguments>
  Function<Arguments...> find(const char* name) {
    void* symbol = library == nullptr ? nullptr : dlsym(library, name);
    if (symbol == nullptr && missing.empty()) missing = name;
    return {reinterpret_cast<int (*)(Arguments...)>(symbol), name};
  }

  Function<unsigned> init = find<unsigned>("cuInit");
  Function<int, const char**> error_string = find<int, const char**>("cuGetErrorString");
  Function<int*> version = find<int*>("cuDriverGetVersion");
  Function<int*> device_count = find<int*>("cuDeviceGetCount");
  Function<char*, int, int> device_name = find<char*, int, int>("cuDeviceGetName");
  Function<int*, int, int> attribute = find<int*, int, int>("cuDeviceGetAttribute");
  Function<void**, int> retain_primary = find<void**, int>("cuDevicePrimaryCtxRetain");
  Function<void*> set_current = find<void*>("cuCtxSetCurrent");
  Function<void**> current = find<void**>("cuCtxGetCurrent");
  Function<void**, unsigned, int> create_context = find<void**, unsigned, int>("cuCtxCreate_v2");
  Function<void*> destroy_context = find<void*>("cuCtxDestroy_v2");
  Function<> synchronize = find<>("cuCtxSynchronize");

  Function<Address*, Size> allocate = find<Address*, Size>("cuMemAlloc_v2");
  Function<Address> release = find<Address>("cuMemFree_v2");
  Function<Address, const void*, Size> copy_in =
      find<Address, const void*, Size>("cuMemcpyHtoD_v2");
  Function<void*, Address, Size> copy_out = find<void*, Address, Size>("cuMemcpyDtoH_v2");
  Function<Address, Address, Size> copy_within = find<Address, Address, Size>("cuMemcpyDtoD_v2");
  Function<Address, Address, Size, void*> copy_within_async =
      find<Address, Address, Size, void*>("cuMemcpyDtoDAsync_v2");
  Function<Address, unsigned char, Size> fill = find<Address, unsigned char, Size>("cuMemsetD8_v2");
  Function<Address, unsigned char, Size, void*> fill_async =
      find<Address, unsigned char, Size, void*>("cuMemsetD8Async");

  Function<void**, unsigned> create_stream = find<void**, unsigned>("cuStreamCreate");
  Function<void*> destroy_stream = find<void*>("cuStreamDestroy_v2");
  Function<void*> synchronize_stream = find<void*>("cuStreamSynchronize");
  Function<void**, unsigned> create_event = find<void**, unsigned>("cuEventCreate");
  Function<void*> destroy_event = find<void*>("cuEventDestroy_v2");
  Function<void*, void*> record_event = find<void*, void*>("cuEventRecord");
  Function<void*> synchronize_event = find<void*>("cuEventSynchronize");
  Function<float*, void*, void*> elapsed = find<float*, void*, void*>("cuEventElapsedTime");

  Function<void*, int> begin_capture = find<void*, int>("cuStreamBeginCapture_v2");
  Function<void*, void**> end_capture = find<void*, void**>("cuStreamEndCapture");
  Function<void**, void*, unsigned long long> instantiate =
      find<void**, void*, unsigned long long>("cuGraphInstantiateWithFlags");
  Function<void*, void*> launch_graph = find<void*, void*>("cuGraphLaunch");
  Function<void*> destroy_executable = find<void*>("cuGraphExecDestroy");
  Function<void*> destroy_graph = find<void*>("cuGraphDestroy");
  Function<void*, void**, Size*> graph_nodes = find<void*, void**, Size*>("cuGraphGetNodes");
  Function<void*, int*> node_type = find<void*, int*>("cuGraphNodeGetType");

  Function<void**, const void*> load_module = find<void**, const void*>("cuModuleLoadData");
  Function<void*> unload_module = find<void*>("cuModuleUnload");
  Function<void**, void*, const char*> module_function =
      find<void**, void*, const char*>("cuModuleGetFunction");
  Function<void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
           void**, void**>
      launch = find<void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                    void*, void**, void**>("cuLaunchKernel");
};

std::string error_text(const Driver& driver, int error) {
  const char* text = nullptr;
  if (driver.error_string(error, &text) == 0 && text != nullptr) return text;
  return "error " + std::to_string(error);
}

// The driver, initialised, with device 0's primary context; or why there is none. Lives as long as
// the process: the driver's own threads may outlive every other object.
struct Opened {
  Driver driver;
  void* primary = nullptr;
  std::string reason = open();

  std::string open() {
    if (driver.library == nullptr) return "libcuda.so.1 is not on this machine";
    if (!driver.missing.empty()) return "libcuda.so.1 is too old: it lacks " + driver.missing;
    const auto refusal = [this](const char* name, int error) {
      return std::string(name) + ": " + error_text(driver, error);
    };
    int count = 0;
    if (const int error = driver.init(0)) return refusal("cuInit", error);
    if (const int error = driver.device_count(&count)) return refusal("cuDeviceGetCount", error);
    if (count == 0) return "the driver sees no device";
    const int error = driver.retain_primary(&primary, 0);
    return error == 0 ? "" : refusal("cuDevicePrimaryCtxRetain", error);
  }
};

const Opened& opened() {
  static const auto& all = *new Opened;
  return all;
}

template <class... Arguments, class... Given>
void require(const Function<Arguments...>& function, Given... given) {
  const int error = function(given...);
  if (error == 0) return;
  throw DeviceError(std::string(function.name) + ": " + error_text(opened().driver, error));
}

// The driver for the calling thread, which then has a context.
const Driver& driver() {
  const Opened& all = opened();
  if (!all.reason.empty()) throw DeviceError("cuda: " + all.reason);
  void* context = nullptr;
  require(all.driver.current, &context);
  if (context == nullptr) require(all.driver.set_current, all.primary);
  return all.driver;
}

Address address(const void* pointer) { return reinterpret_cast<Address>(pointer); }

int attribute(const Driver& d, Attribute which) {
  int value = 0;
  require(d.attribute, &value, static_cast<int>(which), 0);
  return value;
}

const char* node_name(int type) {
  constexpr const char* kNames[] = {"kernel", "memcpy", "memset", "host", "graph", "empty"};
  constexpr int kAllocate = 10, kFree = 11;
  if (type >= 0 && type < 6) return kNames[type];
  if (type == kAllocate) return "allocation";
  return type == kFree ? "free" : "other";
}

}  // namespace

bool available() { return opened().reason.empty(); }
const std::string& reason() { return opened().reason; }

DeviceInfo device_info() {
  const Driver& d = driver();
  DeviceInfo info;
  char name[256] = {};
  require(d.device_name, name, static_cast<int>(sizeof name) - 1, 0);
  info.name = name;
  info.major = attribute(d, kMajor);
  info.minor = attribute(d, kMinor);
  info.multiprocessors = attribute(d, kMultiprocessors);
  info.clock_ghz = attribute(d, kClockRate) * 1e-6;
  info.l2_bytes = static_cast<Size>(attribute(d, kL2Bytes));
  require(d.version, &info.driver_version);
  return info;
}

void* allocate(std::size_t bytes) {
  Address memory = 0;
  require(driver().allocate, &memory, bytes == 0 ? Size{1} : bytes);
  return reinterpret_cast<void*>(memory);
}

void release(void* memory) noexcept {
  if (memory != nullptr) (void)opened().driver.release(address(memory));
}

void copy_in(void* device, const void* host, std::size_t bytes) {
  if (bytes > 0) require(driver().copy_in, address(device), host, bytes);
}

void copy_out(void* host, const void* device, std::size_t bytes) {
  if (bytes > 0) require(driver().copy_out, host, address(device), bytes);
}

void copy_within(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) require(driver().copy_within, address(to), address(from), bytes);
}

void fill(void* device, unsigned char byte, std::size_t bytes) {
  if (bytes > 0) require(driver().fill, address(device), byte, bytes);
}

void synchronize() { require(driver().synchronize); }

OwnContext::OwnContext() { require(driver().create_context, &context_, 0U, 0); }
OwnContext::~OwnContext() { (void)opened().driver.destroy_context(context_); }

Stream::Stream() { require(driver().create_stream, &stream_, kNonBlocking); }
Stream::~Stream() { (void)opened().driver.destroy_stream(stream_); }
void Stream::synchronize() const { require(driver().synchronize_stream, stream_); }

void Stream::fill(void* device, unsigned char byte, std::size_t bytes) const {
  require(driver().fill_async, address(device), byte, bytes, stream_);
}

void Stream::copy_within(void* to, const void* from, std::size_t bytes) const {
  require(driver().copy_within_async, address(to), address(from), bytes, stream_);
}

Graph::Graph(const Stream& stream, const std::function<void()>& work) {
  const Driver& d = driver();
  require(d.begin_capture, stream.handle(), kCaptureGlobal);
  try {
    work();
  } catch (...) {
    (void)d.end_capture(stream.handle(), &graph_);
    if (graph_ != nullptr) (void)d.destroy_graph(graph_);
    throw;
  }
  require(d.end_capture, stream.handle(), &graph_);
  const int error = d.instantiate(&executable_, graph_, 0ULL);
  if (error == 0) return;
  (void)d.destroy_graph(graph_);
  throw DeviceError("cuGraphInstantiateWithFlags: " + error_text(d, error));
}

Graph::~Graph() {
  (void)opened().driver.destroy_executable(executable_);
  (void)opened().driver.destroy_graph(graph_);
}

void Graph::launch(const Stream& stream) const {
  require(driver().launch_graph, executable_, stream.handle());
}

std::vector<std::string> Graph::nodes() const {
  const Driver& d = driver();
  Size count = 0;
  require(d.graph_nodes, graph_, static_cast<void**>(nullptr), &count);
  std::vector<void*> nodes(count);
  if (count > 0) require(d.graph_nodes, graph_, nodes.data(), &count);
  std::vector<std::string> names;
  for (void* node : nodes) {
    int type = -1;
    require(d.node_type, node, &type);
    names.emplace_back(node_name(type));
  }
  return names;
}

Event::Event() { require(driver().create_event, &event_, 0U); }
Event::~Event() { (void)opened().driver.destroy_event(event_); }
void Event::record(const Stream& stream) const {
  require(driver().record_event, event_, stream.handle());
}

double Event::microseconds_since(const Event& earlier) const {
  const Driver& d = driver();
  float milliseconds = 0;
  require(d.synchronize_event, event_);
  require(d.elapsed, &milliseconds, earlier.event_, event_);
  return static_cast<double>(milliseconds) * 1e3;
}

Kernel::Kernel(const char* ptx, const char* name) {
  const Driver& d = driver();
  require(d.load_module, &module_, static_cast<const void*>(ptx));
  const int error = d.module_function(&function_, module_, name);
  if (error == 0) return;
  (void)d.unload_module(module_);
  throw DeviceError("cuModuleGetFunction: " + error_text(d, error));
}

Kernel::~Kernel() { (void)opened().driver.unload_module(module_); }

void Kernel::launch(const Stream& stream, unsigned blocks, unsigned threads,
                    void** arguments) const {
  require(driver().launch, function_, blocks, 1U, 1U, threads, 1U, 1U, 0U, stream.handle(),
          arguments, static_cast<void**>(nullptr));
}

}  // namespace rapt::kit::cuda
