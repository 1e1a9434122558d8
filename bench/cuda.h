// SPDX-License-Identifier: Apache-2.0 OR MIT
// Measurements on a CUDA device: planned runs in a graph that is replayed, timed by the device's
// own events; and what that device can do at most.
#pragma once
#include <cstddef>
#include <memory>

#include "bench/ceilings.h"
#include "bench/measure.h"
#include "kit/cuda.h"
#include "kit/device_memory.h"

namespace rapt::bench {

// Streams device memory through the multiprocessors, as fast as it can be read.
class CudaReader {
 public:
  explicit CudaReader(std::size_t bytes);

  // The bytes that one read() reads: nearly those asked for, which must be many megabytes.
  [[nodiscard]] std::size_t bytes() const;
  void read(const kit::cuda::Stream& stream) const;
  // Leaves nothing in the L2 cache but clean lines of this reader's memory, of which there must be
  // much more than of cache. Writing alone would leave dirty lines, whose way out others pay for.
  void clean_cache(const kit::cuda::Stream& stream) const;

 private:
  unsigned blocks_;
  unsigned rounds_;
  kit::DeviceBuffer memory_;
  kit::cuda::Kernel kernel_;
};

Outcome measure_cuda(const Job& job, const Tell& tell);

// Products and sums by the highest clock that the device names, which it does not hold under load;
// reading as measured. Takes well under a second.
Ceilings measure_cuda_ceilings();

}  // namespace rapt::bench
