// SPDX-License-Identifier: Apache-2.0 OR MIT
// The one loop that takes the yardsticks' time.
#include "kit/fp32.h"

#include <cmath>

namespace rapt::kit {
namespace {

#if defined(__x86_64__)
// Where the machine has FMA: without it std::fma is a slow call.
[[gnu::target("avx2,fma")]] void add_product_avx2(float a, const float* b, float* sums,
                                                  std::int64_t count) {
  for (std::int64_t n = 0; n < count; ++n) sums[n] = __builtin_fmaf(a, b[n], sums[n]);
}
#endif

void add_product_anywhere(float a, const float* b, float* sums, std::int64_t count) {
  for (std::int64_t n = 0; n < count; ++n) sums[n] = std::fma(a, b[n], sums[n]);
}

using AddProduct = void (*)(float, const float*, float*, std::int64_t);

AddProduct best_add_product() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return add_product_avx2;
#endif
  return add_product_anywhere;
}

}  // namespace

void add_product(float a, const float* b, float* sums, std::int64_t count) {
  static const AddProduct best = best_add_product();
  best(a, b, sums, count);
}

}  // namespace rapt::kit
