// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a launch under capture must find in memory.
#include "backend/cuda/launch.h"

#include <string>

namespace rapt::cuda {

// A stream that does not tell is not being captured as far as this sentence goes: the launch will
// say what is wrong with it. The null stream never is, and may have no context to ask in.
Status refuse_capture(const Target& target, const char* kernel) {
  bool capturing = false;
  const auto stream = static_cast<CUstream>(target.stream);
  if (stream == nullptr || !Driver::system().is_capturing(stream, capturing).ok() || !capturing) {
    return {};
  }
  return unsupported(std::string("options.stream: a graph is being captured and ") + kernel +
                     " is not in memory; make the call once before the capture");
}

}  // namespace rapt::cuda
