// SPDX-License-Identifier: Apache-2.0 OR MIT
// The bytes of one cache entry: a header that tells a foreign, old, cut or damaged file, the cubin,
// the log.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "backend/cuda/cubin.h"

namespace rapt::cuda {

std::vector<std::byte> pack_entry(const std::string& digest, const Cubin& cubin);

// "" and the cubin, or what is wrong with the bytes.
std::string unpack_entry(std::span<const std::byte> bytes, const std::string& digest, Cubin& cubin);

}  // namespace rapt::cuda
