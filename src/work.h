// SPDX-License-Identifier: Apache-2.0 OR MIT
// Work items: what the scheduler hands to a backend. Plain data only, like problem.h.
#pragma once
#include <cstdint>

namespace rapt {

// What a kernel tells the scheduler about itself.
struct Grain {
  std::int64_t rows = 1;         // query rows (token, head of the group) of one item at most
  std::int64_t block_kv = 1;     // splits over keys fall on multiples of this
  std::int64_t split_keys = 0;   // least keys worth a split of their own; 0 = never split
  std::int64_t split_items = 0;  // no splits once there are so many items without them
  std::int64_t kv_heads = 1;     // kv heads of one item at most
};

// One piece of work: query rows [row_begin, row_end) of `kv_heads` kv heads of one sequence, from
// kv_head on, against their keys [kv_begin, kv_end). Row r of a sequence is token r / group and
// head r % group of the group that shares the kv head (group = q_heads / kv_heads).
struct WorkItem {
  std::int64_t sequence = 0;
  std::int64_t kv_head = 0;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t kv_begin = 0;
  std::int64_t kv_end = 0;
  std::int64_t partial = -1;  // first of its kv_heads * (row_end - row_begin) partial rows, head by
                              // head; -1: finishes itself
  std::int64_t kv_heads = 1;
};

// The splits of one set of query rows, to be merged in split order.
struct CombineItem {
  std::int64_t sequence = 0;
  std::int64_t kv_head = 0;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t partial = 0;  // first row of split 0; split s begins s * kv_heads * (row_end -
                             // row_begin) later
  std::int64_t splits = 0;
  std::int64_t kv_heads = 1;
};

// The division of a problem whose lengths only its device can read: a regular grid over the bounds,
// from which every block finds its own rows and keys (plan/grid.h).
struct Grid {
  std::int64_t q_len = 0;         // of the longest sequence: what the kernel's tile was chosen for
  std::int64_t tiles = 0;         // of rows, of the longest sequence
  std::int64_t splits = 1;        // over keys
  std::int64_t split_keys = 0;    // keys of a split: all of them where splits is 1
  std::int64_t blocks = 0;        // batch * kv_heads * tiles * splits
  std::int64_t partial_rows = 0;  // that splits leave; 0 where there are none
};

}  // namespace rapt
