// SPDX-License-Identifier: Apache-2.0 OR MIT
// Host memory, CUDA's memory, and which of them a call asks for.
#include "kit/device_memory.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <string_view>
#include <vector>

#include "kit/cuda.h"

namespace rapt::kit {
namespace {

class HostMemory : public DeviceMemory {
 public:
  [[nodiscard]] rapt_device_kind kind() const override { return RAPT_CPU; }
  [[nodiscard]] void* allocate(std::size_t bytes) override {
    return ::operator new[](bytes + 1, kAlignment);
  }
  void release(void* memory) noexcept override { ::operator delete[](memory, kAlignment); }
  void copy_in(void* device, const void* host, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
  }
  void copy_out(void* host, const void* device, std::size_t bytes) override {
    if (bytes > 0) std::memcpy(host, device, bytes);
  }
  void synchronize() override {}

 private:
  static constexpr std::align_val_t kAlignment{64};
};

class CudaMemory : public DeviceMemory {
 public:
  [[nodiscard]] rapt_device_kind kind() const override { return RAPT_CUDA; }
  [[nodiscard]] void* allocate(std::size_t bytes) override { return cuda::allocate(bytes); }
  void release(void* memory) noexcept override { cuda::release(memory); }
  void copy_in(void* device, const void* host, std::size_t bytes) override {
    cuda::copy_in(device, host, bytes);
  }
  void copy_out(void* host, const void* device, std::size_t bytes) override {
    cuda::copy_out(host, device, bytes);
  }
  void synchronize() override { cuda::synchronize(); }
};

std::vector<rapt_device_info> library_devices() {
  std::size_t count = 0;
  if (rapt_devices(nullptr, 0, &count) != RAPT_OK) return {};
  rapt_device_info empty{};
  empty.struct_size = sizeof empty;
  std::vector<rapt_device_info> devices(count, empty);
  if (rapt_devices(devices.data(), devices.size(), &count) != RAPT_OK) return {};
  return devices;
}

}  // namespace

DeviceMemory& memory_at(Place place) {
  static HostMemory host;
  static CudaMemory device;
  if (place == Place::cuda) return device;
  return host;
}

Place place_of(const rapt_options& options) {
  const std::string_view kernel = options.kernel == nullptr ? "" : options.kernel;
  if (kernel.starts_with("cuda/")) return Place::cuda;
  const auto names_none = [](const char* name) {
    return name == nullptr || *name == '\0' || std::strcmp(name, "auto") == 0;
  };
  const char* backend = names_none(options.backend) ? std::getenv("RAPT_BACKEND") : options.backend;
  return backend != nullptr && std::strcmp(backend, "cuda") == 0 ? Place::cuda : Place::host;
}

// The library knows best: it may lack what this kit does not need.
std::string why_absent(Place place) {
  if (place != Place::cuda) return "";
  std::string reason = cuda::reason();
  for (const rapt_device_info& device : library_devices()) {
    if (std::strcmp(device.backend, "cuda") != 0) continue;
    if (device.available != 0) return cuda::available() ? "" : "backend: cuda: " + reason;
    if (device.detail[0] != '\0') reason = device.detail;
  }
  return reason.empty() ? "" : "backend: cuda: " + reason;
}

}  // namespace rapt::kit
