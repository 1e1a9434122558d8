// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the streaming kernel is compiled for and launched with; read by the host's compiler and by
// NVRTC.
#pragma once

namespace rapt::kernels {

enum class StreamKind : int { read = 0, copy = 1 };

struct StreamConfig {
  StreamKind kind = StreamKind::read;
  int threads = 256;  // a block
  int loads = 4;      // 16-byte loads in flight a thread

  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("kind", &StreamConfig::kind);
    visit("threads", &StreamConfig::threads);
    visit("loads", &StreamConfig::loads);
  }
};

struct StreamParams {
  const void* from = nullptr;  // [vectors] of 16 bytes
  void* to = nullptr;          // likewise; read: 16 bytes, written only where all bits are ones
  unsigned long long vectors = 0;
};

}  // namespace rapt::kernels
