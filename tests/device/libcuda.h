// SPDX-License-Identifier: Apache-2.0 OR MIT
// A libcuda.so.1 for machines without a GPU: one device whose memory is the host's. Kernels that
// NVIDIA's compiler made are loaded and counted but do nothing: what happens between the front door
// and the driver is tested with it. Kernels that the emulator's compiler made (tests/emulator) are
// run.
#pragma once
#include <cstdint>

extern "C" {

struct StandInCounts {
  std::int64_t launches;
  std::int64_t loads;       // of cubins
  std::int64_t attributes;  // set on kernels
  std::int64_t memory;      // allocations and releases, in the order of a stream or not
  std::int64_t copies;
  std::int64_t waits;
};

// Since the process began.
StandInCounts stand_in_counts(void);

// A stream that is being captured, as far as the driver is asked.
void* stand_in_capturing_stream(void);
}
