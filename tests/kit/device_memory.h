// SPDX-License-Identifier: Apache-2.0 OR MIT
// Where a workload's tensors may live, behind one interface. Place::stand_in is host memory that
// plays a device's: what copies to and fro is tested with it where there is no device.
#pragma once
#include <cstddef>
#include <string>

#include "rapt/rapt.h"

namespace rapt::kit {

enum class Place { host, stand_in, cuda };

class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  [[nodiscard]] virtual rapt_device_kind kind() const = 0;
  [[nodiscard]] virtual void* allocate(std::size_t bytes) = 0;  // 64-byte aligned
  virtual void release(void* memory) noexcept = 0;
  virtual void copy_in(void* device, const void* host, std::size_t bytes) = 0;
  virtual void copy_out(void* host, const void* device, std::size_t bytes) = 0;
  // Waits for all that was queued.
  virtual void synchronize() = 0;
};

DeviceMemory& memory_at(Place place);

// Memory of a device, given back at the end of the scope.
class DeviceBuffer {
 public:
  DeviceBuffer(DeviceMemory& memory, std::size_t bytes)
      : memory_(&memory), data_(memory.allocate(bytes)) {}
  ~DeviceBuffer() {
    if (data_ != nullptr) memory_->release(data_);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept : memory_(other.memory_), data_(other.data_) {
    other.data_ = nullptr;
  }
  DeviceBuffer(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(const DeviceBuffer&) = delete;
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;

  [[nodiscard]] void* data() const { return data_; }

 private:
  DeviceMemory* memory_;
  void* data_;
};

// Where tensors must be for a call with these options: what their backend or kernel says, else
// RAPT_BACKEND.
Place place_of(const rapt_options& options);

// Why nothing can be computed there on this machine, as a sentence; "" where it can.
std::string why_absent(Place place);

}  // namespace rapt::kit
