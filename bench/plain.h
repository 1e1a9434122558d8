// SPDX-License-Identifier: Apache-2.0 OR MIT
// The peer of suite cpu-lengths: softmax(QK^T)V as a textbook writes it, with the whole matrix of
// scores in memory.
#pragma once
#include "rapt/rapt.h"

namespace rapt::bench {

// Writes out and lse of a dense FP32 problem whose only feature may be a causal mask, with
// q_heads = kv_heads and lengths and value_dim that are multiples of 16. False: the problem is
// another one. Throws std::bad_alloc where the scores do not fit.
bool plain_attention(const rapt_attention& problem, int threads);

}  // namespace rapt::bench
