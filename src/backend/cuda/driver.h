// SPDX-License-Identifier: Apache-2.0 OR MIT
// libcuda, found at run time: devices, contexts, kernels, launches, memory. Every refusal of the
// driver becomes a sentence that begins with the function refused ("cuLaunchKernelEx:
// CUDA_ERROR_...").
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/cuda/arch.h"
#include "backend/cuda/driver_api.h"
#include "status.h"

namespace rapt::cuda {

struct Device {
  CUdevice handle = 0;
  std::string name;
  Arch arch;
  std::int32_t multiprocessors = 0;
  std::int32_t max_shared_bytes = 0;  // of one block
  std::size_t memory_bytes = 0;
};

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

struct Launch {
  CUkernel kernel = nullptr;
  const char* name = "";  // for the sentence when it fails
  Dim3 grid;
  Dim3 block;
  unsigned shared_bytes = 0;  // dynamic
  unsigned cluster = 1;       // blocks along x that share a cluster
  bool programmatic = false;  // may begin before the kernel in front of it has ended
  CUstream stream = nullptr;
};

// A tensor as TMA copies boxes of it; dimension 0 is the contiguous one. What lies outside the
// shape is read as zero and never written.
struct TiledTensor {
  static constexpr std::uint32_t kMaxRank = 5;

  int type = kTensorBf16;
  std::uint32_t rank = 0;
  void* data = nullptr;                           // 16-byte aligned
  std::uint64_t shape[kMaxRank] = {};             // elements
  std::uint64_t byte_strides[kMaxRank - 1] = {};  // of dimensions 1 and up; multiples of 16
  std::uint32_t box[kMaxRank] = {};               // elements, 256 at most
  int swizzle = kSwizzle128;
  int promotion = kPromote128;

  friend bool operator==(const TiledTensor&, const TiledTensor&) = default;
};

enum class Timing { off, on };

class Driver {
 public:
  // libcuda of this machine, opened and asked for its devices on first use.
  static const Driver& system();

  // A table that tests bring. Devices are listed at once.
  explicit Driver(const DriverApi& api);

  // Not ok: why no device of this machine can be used.
  [[nodiscard]] const Status& status() const { return status_; }
  [[nodiscard]] int version() const { return version_; }  // 12040 is CUDA 12.4; 0 = no driver
  [[nodiscard]] const std::vector<Device>& devices() const { return devices_; }
  [[nodiscard]] const DriverApi& api() const { return api_; }

  // Ok, or the sentence "function: CUDA_ERROR_NAME (detail)".
  [[nodiscard]] Status check(CUresult result, const char* function,
                             const std::string& detail = "") const;

  // Loads a cubin; the kernel serves every context of its architecture and is never unloaded.
  Status load(std::span<const std::byte> cubin, const char* entry, CUkernel& kernel) const;
  Status allow_shared_bytes(CUkernel kernel, const Device& device, std::uint32_t bytes) const;
  Status launch(const Launch& launch, void** parameters) const;

  // All of these act in the current context; see ContextScope.
  Status allocate(std::size_t bytes, void*& memory) const;
  Status release(void* memory) const;
  Status allocate_pinned(std::size_t bytes, void*& memory) const;
  Status release_pinned(void* memory) const;
  Status copy(void* to, const void* from, std::size_t bytes, CUstream stream) const;
  // Into host memory; waits for the stream.
  Status read_back(const void* from, std::span<std::byte> to, CUstream stream) const;
  Status fill(void* memory, unsigned char value, std::size_t bytes, CUstream stream) const;
  Status synchronize(CUstream stream) const;
  Status is_capturing(CUstream stream, bool& capturing) const;

  // In the order of the stream: from the device's memory pool, and back to it.
  Status allocate_async(std::size_t bytes, void*& memory, CUstream stream) const;
  Status release_async(void* memory, CUstream stream) const;

  // Marks in a stream. Without timing they cost less and only synchronise.
  Status create_event(Timing timing, CUevent& event) const;
  Status destroy_event(CUevent event) const;
  Status record(CUevent event, CUstream stream) const;
  Status await(CUevent event) const;
  Status elapsed(CUevent from, CUevent to, float& milliseconds) const;

  // Pure host arithmetic, so a map may be made at plan time; kernels take it by value.
  Status encode(const TiledTensor& tensor, CUtensorMap& map) const;

  Status device_of(const void* memory, int& ordinal) const;  // of a pointer

  // The device's primary context, kept from its first use to the end of the process.
  Status primary_context(int ordinal, CUcontext& context) const;

 private:
  explicit Driver(Status status) : status_(std::move(status)) {}
  static Driver open();
  Status list_devices();
  Status describe(int ordinal, Device& device) const;

  DriverApi api_{};
  Status status_;
  int version_ = 0;
  std::vector<Device> devices_;
  std::unique_ptr<std::atomic<CUcontext>[]> primary_;  // [devices]
};

// Makes a context of a device current for a scope: the stream's, else the caller's current one
// where it is of that device, else the device's primary one. The caller's is current again
// afterwards.
class ContextScope {
 public:
  ContextScope(const Driver& driver, int ordinal, CUstream stream);
  ~ContextScope();
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

  [[nodiscard]] const Status& status() const { return status_; }

 private:
  Status enter(int ordinal, CUstream stream);
  [[nodiscard]] int current_device() const;  // of the current context; -1 = none of ours

  const Driver& driver_;
  bool pushed_ = false;
  Status status_;
};

}  // namespace rapt::cuda
