// SPDX-License-Identifier: Apache-2.0 OR MIT
// How a StreamConfig becomes a kernel.
#include "backend/cuda/stream.h"

#include <span>
#include <string>

#include "backend/cuda/config_text.h"
#include "kernels/cuda/stream_config.h"

namespace rapt::cuda {
namespace {

using kernels::StreamConfig;
using kernels::StreamKind;

std::string words(const void* bytes) { return config_words(config_of<StreamConfig>(bytes)); }

std::string instantiate(const void* bytes) {
  std::string text = "using namespace rapt::kernels;\n";
  text += config_constant("StreamConfig", config_of<StreamConfig>(bytes));
  text +=
      "extern \"C\" __global__ void __launch_bounds__(kConfig.threads)\n"
      "rapt_stream(const __grid_constant__ StreamParams p) { Stream<kConfig>::run(p); }\n";
  return text;
}

}  // namespace

const KernelFamily& stream_family() {
  static constexpr KernelFamily kFamily = {"cuda/stream", "stream.cuh", "rapt_stream",
                                           words,         instantiate,  no_shared_bytes};
  return kFamily;
}

void add_stream_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys) {
  constexpr int kUsualLoads[] = {StreamConfig{}.loads};
  constexpr int kAllLoads[] = {1, 2, 4, 8};
  const std::span<const int> loads =
      preset == Preset::all ? std::span<const int>(kAllLoads) : std::span<const int>(kUsualLoads);
  for (const StreamKind kind : {StreamKind::read, StreamKind::copy}) {
    for (const int in_flight : loads) {
      keys.push_back(
          kernel_key(stream_family(), StreamConfig{.kind = kind, .loads = in_flight}, arch));
    }
  }
}

}  // namespace rapt::cuda
