// SPDX-License-Identifier: Apache-2.0 OR MIT
// CUDA's words in C++: what a translated kernel's text (translate.py) begins with.
#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "machine.h"
#include "ptx.h"

#define __device__
#define __global__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(bytes) alignas(bytes)
#define __shared__ static  // one CTA runs at a time

#define threadIdx (rapt::emulator::place().thread)
#define blockIdx (rapt::emulator::place().block)
#define blockDim (rapt::emulator::place().block_size)
#define gridDim (rapt::emulator::place().grid)

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
struct alignas(8) float2 {
  float x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
struct alignas(16) float4 {
  float x, y, z, w;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}

// Not to be contracted into fused operations.
[[gnu::noinline]] inline float __fmul_rn(float a, float b) { return a * b; }
[[gnu::noinline]] inline float __fadd_rn(float a, float b) { return a + b; }
[[gnu::noinline]] inline float __fsub_rn(float a, float b) { return a - b; }
[[gnu::noinline]] inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fdividef(float a, float b) { return a / b; }
using std::fabs;

template <class T>
T __ldg(const T* from) {
  return *from;
}
template <class T>
void __stwb(T* to, T value) {
  *to = value;
}

inline std::size_t __cvta_generic_to_shared(const void* pointer) {
  return rapt::emulator::shared_address(pointer);
}

inline void __syncthreads() { rapt::emulator::barrier_sync(0, rapt::emulator::block_threads()); }
inline void __syncwarp(unsigned mask = ~0u) {
  rapt::emulator::meet("__syncwarp", nullptr, [](void* const*) {}, mask);
}

namespace rapt::emulator {

template <class T>
struct Exchange {
  T value;
  int from;
  T result;
};

template <class T>
T exchange(const char* what, unsigned mask, T value, int from) {
  Exchange<T> mine = {value, from, {}};
  meet(
      what, &mine,
      [](void* const* operands) {
        for (int lane = 0; lane < kLanes; ++lane) {
          auto* reader = static_cast<Exchange<T>*>(operands[lane]);
          if (reader == nullptr) continue;
          const auto* writer = static_cast<Exchange<T>*>(operands[reader->from % kLanes]);
          if (writer == nullptr) fail("a lane reads from one that its mask leaves out");
          reader->result = writer->value;
        }
      },
      mask);
  return mine.result;
}

template <class... Parameters, std::size_t... i>
void call(void (*kernel)(Parameters...), void** parameters, std::index_sequence<i...>) {
  kernel(*static_cast<std::remove_cv_t<Parameters>*>(parameters[i])...);
}

// A kernel with the parameters of a launch.
template <class... Parameters>
void call(void (*kernel)(Parameters...), void** parameters) {
  call(kernel, parameters, std::index_sequence_for<Parameters...>());
}

// Of each, and a 0.
template <class... Parameters>
std::array<std::size_t, 1 + sizeof...(Parameters)> parameter_bytes(void (*)(Parameters...)) {
  return {sizeof(Parameters)..., 0};
}

inline int lane() {
  const Place& at = place();
  const unsigned n = at.thread.x + at.block_size.x * (at.thread.y + at.block_size.y * at.thread.z);
  return static_cast<int>(n % kLanes);
}

}  // namespace rapt::emulator

template <class T>
T __shfl_sync(unsigned mask, T value, int from, int = 32) {
  return rapt::emulator::exchange("__shfl_sync", mask, value, from & 31);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int = 32) {
  return rapt::emulator::exchange("__shfl_xor_sync", mask, value, rapt::emulator::lane() ^ bits);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, int by, int = 32) {
  const int lane = rapt::emulator::lane();
  return rapt::emulator::exchange("__shfl_up_sync", mask, value, lane >= by ? lane - by : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int by, int = 32) {
  const int lane = rapt::emulator::lane();
  return rapt::emulator::exchange("__shfl_down_sync", mask, value,
                                  lane + by < 32 ? lane + by : lane);
}
inline unsigned __ballot_sync(unsigned mask, int holds) {
  struct Vote {
    int holds;
    unsigned all;
  } mine = {holds, 0};
  rapt::emulator::meet(
      "__ballot_sync", &mine,
      [](void* const* operands) {
        unsigned all = 0;
        const auto each = [&](auto visit) {
          for (int lane = 0; lane < rapt::emulator::kLanes; ++lane) {
            if (operands[lane] != nullptr) visit(*static_cast<Vote*>(operands[lane]), lane);
          }
        };
        each([&](Vote& vote, int lane) { all |= (vote.holds != 0 ? 1u : 0u) << lane; });
        each([&](Vote& vote, int) { vote.all = all; });
      },
      mask);
  return mine.all;
}
inline int __any_sync(unsigned mask, int holds) { return __ballot_sync(mask, holds) != 0; }
inline int __all_sync(unsigned mask, int holds) { return __ballot_sync(mask, !holds) == 0; }
