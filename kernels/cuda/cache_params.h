// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the paged cache's kernels are launched with. Read by the host's compiler and by NVRTC.
#pragma once
#include "view_params.h"

namespace rapt::kernels {

// One of k, v and q on its way: rows [tokens, heads, dim] into pages, or q into rows again.
// Strides in elements.
struct AppendSide {
  const void* from;
  long long from_token_stride;
  long long from_head_stride;
  void* to;
  long long to_page_stride;
  long long to_token_stride;
  long long to_head_stride;
  long long run_stride;  // a head is runs of 2^run_shift contiguous elements, so far apart
  int run_shift;
  int paged;         // 0: rows by token, without pages
  long long heads;   // times the accesses of a head, 2^31 at most
  int turned_units;  // of a head: accesses that rope turns
  int copied_units;  // accesses behind them, which are copied
  int copied_from;   // first element copied
  int reserved;
};

struct AppendParams {
  AppendSide sides[3];  // k, v, q: block y of the grid
  long long tokens;
  const long long* slots;  // [tokens]
  long long slots_stride;
  long long pages;
  int page_shift;  // log2 of page_size

  int pairs;  // rotary_dim / 2
  const float* cos;
  const float* sin;
  long long cos_stride;
  long long sin_stride;
  long long table_rows;
  IndexParam positions;  // [tokens]
};

// Whole pages; strides in bytes. A page is `outer` strided dimensions of runs.
struct MoveParams {
  const void* from;
  void* to;
  long long from_page_stride;
  long long to_page_stride;
  long long from_pages;
  long long to_pages;
  const long long* sources;  // page of move i: sources[i * index_stride]
  const long long* targets;
  long long index_stride;
  long long moves;
  long long run_units;   // accesses of a run
  long long page_units;  // accesses of a page, 2^31 at most
  int outer;
  int reserved;
  long long shape[5];
  long long from_strides[5];
  long long to_strides[5];
};

}  // namespace rapt::kernels
