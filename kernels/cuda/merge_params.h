// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a merge is launched with. Read by the host's compiler and by NVRTC.
#pragma once
#include "view_params.h"

namespace rapt::kernels {

constexpr int kMergeParts = 32;  // of one launch: parameters are 4 KB at most

struct MergePart {
  RowsParam out;
  RowsParam lse;
};

struct MergeParams {
  MergePart parts[kMergeParts];
  MergePart merged;  // lse.data null: not wanted
  long long batch;
  long long tokens;
  long long heads;  // times tokens, 2^31 at most
  int dim;
  int count;  // of parts

  // Chained launches: what the ones before have merged, as one more part in FP32.
  float* carried_out;  // [batch, tokens, heads, dim]
  float* carried_lse;  // [batch, tokens, heads]
  int takes;           // the first launch takes nothing,
  int leaves;          // the last leaves nothing and writes `merged`
};
static_assert(sizeof(MergeParams) <= 4096);

}  // namespace rapt::kernels
