// SPDX-License-Identifier: Apache-2.0 OR MIT
// Problems that stand for many: what is compiled ahead is what calls with these would ask for.
#pragma once
#include "problem.h"

namespace rapt::cuda {

// One sequence of 8 heads against 4096 keys, of `rows` queries and nothing more.
inline Problem plain_problem(DType dtype, int head_dim, int rows) {
  Problem p;
  p.batch = 1;
  p.q_len = rows;
  p.kv_len = 4096;
  p.q_heads = p.kv_heads = 8;
  p.head_dim = p.value_dim = head_dim;
  p.dtype = p.kv_dtype = p.out_dtype = dtype;
  p.scale = 1;
  return p;
}

// Features. Pointers only say that one is on.
inline constexpr float kGiven = 0;

inline void make_causal(Problem& p) { p.mask_right = 0; }
inline void make_windowed(Problem& p) {
  make_causal(p);
  p.mask_left = 1023;
}
inline void add_softcap(Problem& p) { p.softcap = 1; }
inline void add_alibi(Problem& p) { p.alibi = &kGiven; }
inline void add_bias(Problem& p) {
  p.bias = &kGiven;
  p.bias_dtype = p.dtype;
}
inline void add_sinks(Problem& p) { p.sinks = &kGiven; }
inline void add_dropout(Problem& p) { p.dropout_keep = 230; }

}  // namespace rapt::cuda
