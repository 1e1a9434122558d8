// SPDX-License-Identifier: Apache-2.0 OR MIT
// A little of NVIDIA's driver, found at run time, for tests and benchmarks: memory, streams,
// events, graphs and contexts on device 0. Where there is none, available() is false and reason()
// says why; whatever else the driver refuses is thrown as a DeviceError.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace rapt::kit {

// What a device's driver refused, or what went wrong on the device: "cuMemAlloc: out of memory".
class DeviceError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace rapt::kit

namespace rapt::kit::cuda {

bool available();
const std::string& reason();  // "" where available

struct DeviceInfo {
  std::string name;  // "NVIDIA H200"
  int major = 0, minor = 0;
  int multiprocessors = 0;
  double clock_ghz = 0;  // the highest
  std::size_t l2_bytes = 0;
  int driver_version = 0;  // of the interface: 13000
};
DeviceInfo device_info();

// Every function below works in the calling thread's current context; a thread that has none gets
// the primary one.
void* allocate(std::size_t bytes);  // 256-byte aligned; at least one byte
void release(void* memory) noexcept;
void copy_in(void* device, const void* host, std::size_t bytes);
void copy_out(void* host, const void* device, std::size_t bytes);
void copy_within(void* to, const void* from, std::size_t bytes);
void fill(void* device, unsigned char byte, std::size_t bytes);
void synchronize();  // all that was queued in this context

// A context beside the primary one, this thread's current one until the end of the scope.
class OwnContext {
 public:
  OwnContext();
  ~OwnContext();
  OwnContext(const OwnContext&) = delete;
  OwnContext& operator=(const OwnContext&) = delete;

 private:
  void* context_ = nullptr;
};

// A stream that does not wait for the default one.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  [[nodiscard]] void* handle() const { return stream_; }
  void synchronize() const;
  void fill(void* device, unsigned char byte, std::size_t bytes) const;
  void copy_within(void* to, const void* from, std::size_t bytes) const;

 private:
  void* stream_ = nullptr;
};

// What `work` queues on the stream, captured in the strictest mode: there an allocation or a
// synchronisation by any thread makes the capture fail.
class Graph {
 public:
  Graph(const Stream& stream, const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(const Stream& stream) const;
  [[nodiscard]] std::vector<std::string> nodes() const;  // "kernel", "memcpy", ...

 private:
  void* graph_ = nullptr;
  void* executable_ = nullptr;
};

// A point in a stream.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream& stream) const;
  // Waits for this event; the time since the earlier one.
  [[nodiscard]] double microseconds_since(const Event& earlier) const;

 private:
  void* event_ = nullptr;
};

// One kernel, from PTX text that the driver compiles.
class Kernel {
 public:
  Kernel(const char* ptx, const char* name);
  ~Kernel();
  Kernel(const Kernel&) = delete;
  Kernel& operator=(const Kernel&) = delete;

  // `arguments` point to the kernel's parameters.
  void launch(const Stream& stream, unsigned blocks, unsigned threads, void** arguments) const;

 private:
  void* module_ = nullptr;
  void* function_ = nullptr;
};

}  // namespace rapt::kit::cuda
