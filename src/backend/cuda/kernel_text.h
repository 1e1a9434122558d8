// SPDX-License-Identifier: Apache-2.0 OR MIT
// The text of the kernels, embedded when rapt is built, and its flattening: one file with
// everything that it includes, each once, so that a compiler needs no search path and a cache key
// needs no list.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "status.h"

namespace rapt::cuda {

struct KernelFile {
  std::string_view name;  // path below kernels/cuda: "portable/forward.cuh"
  std::string_view text;
};

// Every header of kernels/cuda, sorted by name. Made by cmake/embed.cmake.
std::span<const KernelFile> kernel_files();

// Appends `name` and, in front of its own lines, what it includes. An include in quotes is looked
// up beside the includer, then from the root; conditional includes are not understood, they are
// taken always. #line directives keep the compiler's messages true.
Status flatten(std::span<const KernelFile> files, std::string_view name, std::string& text);

}  // namespace rapt::cuda
