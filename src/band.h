// SPDX-License-Identifier: Apache-2.0 OR MIT
// The mask as arithmetic on indices: which keys a run of queries sees. `diagonal` is q_start -
// kv_start, so that query i sees key j of [0, kv_len) iff
//     j <= i + diagonal + right  and  (j >= i + diagonal - left  or  j < sink_tokens).
// Functions are static so that each translation unit, whatever its instruction set, has its own.
#pragma once
#include <cstdint>

#include "rapt/rapt.h"

namespace rapt {

struct Band {
  std::int64_t left = RAPT_UNBOUNDED;
  std::int64_t right = RAPT_UNBOUNDED;
  std::int64_t sink_tokens = 0;
};

// a + b, held inside int64 (positions and bounds come from callers and may be huge).
static inline std::int64_t saturating_add(std::int64_t a, std::int64_t b) {
  std::int64_t sum = 0;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b > 0 ? INT64_MAX : INT64_MIN;
}

static inline std::int64_t clamp(std::int64_t x, std::int64_t low, std::int64_t high) {
  return x < low ? low : (x > high ? high : x);
}

// First key inside the window of query i, sink tokens aside; in [0, kv_len].
static inline std::int64_t window_begin(const Band& band, std::int64_t i, std::int64_t diagonal,
                                        std::int64_t kv_len) {
  if (band.left == RAPT_UNBOUNDED) return 0;
  return clamp(saturating_add(saturating_add(i, diagonal), -band.left), 0, kv_len);
}

// One past the last key that query i sees; in [0, kv_len].
static inline std::int64_t window_end(const Band& band, std::int64_t i, std::int64_t diagonal,
                                      std::int64_t kv_len) {
  if (band.right == RAPT_UNBOUNDED) return kv_len;
  const std::int64_t last = saturating_add(saturating_add(i, diagonal), band.right);
  return last == INT64_MAX ? kv_len : clamp(last + 1, 0, kv_len);
}

}  // namespace rapt
