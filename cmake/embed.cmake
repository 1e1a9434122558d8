# SPDX-License-Identifier: Apache-2.0 OR MIT
# Turns every header of a folder into one C++ table of {name, text}:
#   cmake -DROOT=kernels/cuda -DOUT=build/embedded_kernels.cpp -P cmake/embed.cmake
# Names are paths below ROOT ("portable/forward.cuh"). Nobody lists files by hand.
file(GLOB_RECURSE names RELATIVE "${ROOT}" "${ROOT}/*.h" "${ROOT}/*.cuh")
list(SORT names)

set(table "")
foreach(name IN LISTS names)
  file(READ "${ROOT}/${name}" text)
  if(text MATCHES "\\)KERNEL\"")
    message(FATAL_ERROR "embed: ${name} holds the text that ends a raw string here")
  endif()
  string(APPEND table "    {\"${name}\", R\"KERNEL(${text})KERNEL\"},\n")
endforeach()

file(WRITE "${OUT}.new" "// Made by cmake/embed.cmake from the kernels' folder.
#include \"backend/cuda/kernel_text.h\"

namespace rapt::cuda {
namespace {

constexpr KernelFile kFiles[] = {
${table}};

}  // namespace

std::span<const KernelFile> kernel_files() { return kFiles; }

}  // namespace rapt::cuda
")
file(COPY_FILE "${OUT}.new" "${OUT}" ONLY_IF_DIFFERENT)
file(REMOVE "${OUT}.new")
