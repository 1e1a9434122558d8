// SPDX-License-Identifier: Apache-2.0 OR MIT
// The safetensors reader on any bytes: it answers a sentence, or tensors that lie inside the file.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "cli/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span<const std::byte> file(reinterpret_cast<const std::byte*>(data), size);
  const rapt::cli::Safetensors read = rapt::cli::read_safetensors(file);
  if (!read.error.empty() && !read.tensors.empty()) std::abort();
  unsigned sum = 0;
  for (const auto& tensor : read.tensors) {
    if (read.find(tensor.name) != &tensor) std::abort();
    for (const std::byte byte : tensor.data) sum += static_cast<unsigned>(byte);
  }
  return sum == 0xffffffffu ? 1 : 0;
}
