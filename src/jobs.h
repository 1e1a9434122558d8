// SPDX-License-Identifier: Apache-2.0 OR MIT
// The smaller verbs, validated and normalised as Problem is for attention: writing a paged cache,
// moving its pages, merging partial results, compiling ahead. Plain data.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "problem.h"

namespace rapt {

// One side (k, v or q) of an append: tokens [tokens, heads, dim] and where they go.
struct AppendSide {
  Rows from;  // batch_stride unused
  std::int64_t heads = 0;
  std::int64_t dim = 0;
};

struct RopeTables {
  const float* cos = nullptr;  // [positions, rotary_dim / 2]
  const float* sin = nullptr;
  std::int64_t cos_stride = 0;
  std::int64_t sin_stride = 0;
  Indices positions;  // [tokens]
  std::int64_t table_rows = 0;
  std::int64_t rotary_dim = 0;  // 0 = no rope
  bool interleaved = false;
};

struct AppendJob {
  DType dtype = DType::none;
  std::int64_t tokens = 0;
  AppendSide k, v;
  AppendSide q;  // heads 0 = no q
  Rows q_out;
  PagedRows k_pages, v_pages;
  std::int64_t page_size = 0;
  std::int64_t pages = 0;
  Indices slots;  // INT64 [tokens]; -1 skips
  RopeTables rope;
  DeviceKind device_kind = DeviceKind::cpu;
  std::int32_t device_index = 0;
};

// Copies or clears whole pages. A page is `rank` strided dimensions behind the page dimension.
struct PageJob {
  DType dtype = DType::none;
  std::int32_t rank = 0;                   // of one page
  std::int64_t shape[RAPT_MAX_RANK] = {};  // of one page
  std::int64_t from_strides[RAPT_MAX_RANK] = {};
  std::int64_t to_strides[RAPT_MAX_RANK] = {};
  const void* from = nullptr;  // null = fill with zeros
  void* to = nullptr;
  std::int64_t from_page_stride = 0;
  std::int64_t to_page_stride = 0;
  std::int64_t from_pages = 0;  // in the caches
  std::int64_t to_pages = 0;
  std::int64_t count = 0;
  const std::int64_t* sources = nullptr;  // page of move i: sources[i * index_stride]
  const std::int64_t* targets = nullptr;
  std::int64_t index_stride = 1;
  DeviceKind device_kind = DeviceKind::cpu;  // whose work it is
  std::int32_t device_index = 0;
  // Swaps: one of the caches, and the indices, may be in host memory.
  DeviceKind from_kind = DeviceKind::cpu;
  DeviceKind to_kind = DeviceKind::cpu;
  DeviceKind index_kind = DeviceKind::cpu;
};

struct MergeJob {
  DType dtype = DType::none;
  std::int64_t batch = 0, tokens = 0, heads = 0, dim = 0;  // ragged: batch 1
  std::vector<Rows> out;                                   // one a part
  std::vector<Rows> lse;
  Rows merged_out;
  Rows merged_lse;  // null data = not wanted
  DeviceKind device_kind = DeviceKind::cpu;
  std::int32_t device_index = 0;
};

// Which configurations are compiled ahead: what usual models run, or every one there is.
enum class Preset : std::int32_t { common = RAPT_PRESET_COMMON, all = RAPT_PRESET_ALL };

// One kernel that was compiled ahead.
struct CompiledKernel {
  std::string kernel;  // "cuda/stream"
  std::string arch;    // "sm_90a"
  std::string config;  // "kind=0 threads=256 loads=4"
  std::int32_t registers = 0;
  std::int32_t spill_bytes = 0;
  std::int32_t shared_bytes = 0;
  double compile_ms = 0;  // 0: the cache had it
};

struct CompileJob {
  std::vector<std::string> archs;
  Preset preset = Preset::common;
  std::string kernel = {};  // only those of this name, or this name and configuration; "" = all
  // Told of each kernel in the order of the list, on the caller's thread.
  std::function<void(const CompiledKernel&, std::size_t index, std::size_t count)> report;
  bool list_only = false;  // report without compiling
};

}  // namespace rapt
