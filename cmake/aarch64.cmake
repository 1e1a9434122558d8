# SPDX-License-Identifier: Apache-2.0 OR MIT
# Toolchain for 64-bit Arm with Debian's cross compiler; what it builds runs under qemu-aarch64.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64 -L /usr/aarch64-linux-gnu)

# The header-only packages of the build machine, without the rest of its /usr/include.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/headers)
foreach(package CLI nlohmann)
  file(CREATE_LINK /usr/include/${package} ${CMAKE_BINARY_DIR}/headers/${package} SYMBOLIC)
endforeach()
set(CMAKE_CXX_FLAGS_INIT "-isystem ${CMAKE_BINARY_DIR}/headers")
