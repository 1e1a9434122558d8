// SPDX-License-Identifier: Apache-2.0 OR MIT
// K and V as tensors of rank 4, whose boxes are panels of 64 columns.
#include "backend/cuda/hopper.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "backend/cuda/views.h"
#include "kernels/cuda/hopper/budget.h"

namespace rapt::cuda {
namespace {

using kernels::ForwardConfig;
using kernels::HopperParams;
using kernels::TileOrder;

constexpr std::int64_t kPanel = 64;  // columns: 128 bytes, the widest swizzle

// A slice of a swizzled panel repeats every 8 rows: fewer cannot be placed on their own.
constexpr std::int64_t kLeastPage = 8;

// Coordinates are 32-bit, strides below 2^40 bytes (CUDA driver API, cuTensorMapEncodeTiled).
constexpr std::int64_t kMostRows = INT32_MAX;
constexpr std::int64_t kMostStride = (std::int64_t{1} << 40) - 1;

// K or V: dimensions behind the columns, innermost first.
struct Side {
  const char* field;
  void* data;
  std::int64_t columns;
  std::int64_t shape[3];    // tokens, kv heads, batch; or slots, kv heads, pages
  std::int64_t strides[3];  // elements
};

Side side_of(const Problem& p, const char* field, const Rows& rows, std::int64_t columns) {
  if (p.kv_offsets.data != nullptr) {
    return {field,
            rows.data,
            columns,
            {p.kv_tokens, p.kv_heads, 1},
            {rows.token_stride, rows.head_stride, 0}};
  }
  return {field,
          rows.data,
          columns,
          {p.kv_len, p.kv_heads, p.cache_rows},
          {rows.token_stride, rows.head_stride, rows.batch_stride}};
}

Side side_of(const Problem& p, const char* field, const PagedRows& rows, std::int64_t columns) {
  return {field,
          rows.data,
          columns,
          {p.page_size, p.kv_heads, p.pages},
          {rows.token_stride, rows.head_stride, rows.page_stride}};
}

Side k_side(const Problem& p) {
  return p.page_size > 0 ? side_of(p, "k_pages", p.k_pages, p.head_dim)
                         : side_of(p, "k", p.k, p.head_dim);
}

Side v_side(const Problem& p) {
  return p.page_size > 0 ? side_of(p, "v_pages", p.v_pages, p.value_dim)
                         : side_of(p, "v", p.v, p.value_dim);
}

Refusal refuse_side(const Side& side, DType dtype) {
  for (int i = 0; i < 3; ++i) {
    if (side.shape[i] == 0)
      return Refusal::because(side.field, ": is empty, this kernel wants a key");
    if (side.shape[i] > kMostRows) {
      return Refusal::because(side.field, ": a dimension is ", side.shape[i],
                              ", this kernel takes 2^31 - 1");
    }
    const std::int64_t bytes = side.strides[i] * bytes_of(dtype);
    if (side.shape[i] > 1 && (bytes <= 0 || bytes > kMostStride)) {
      return Refusal::because(side.field, ": a stride is ", side.strides[i],
                              ", this kernel takes more than 0 and less than 2^40 bytes");
    }
  }
  return {};
}

// The stride of a dimension of 1 says nothing, and may be anything.
void set_dimension(TiledTensor& t, int i, std::int64_t size, std::int64_t bytes, std::int64_t box) {
  t.shape[i] = static_cast<std::uint64_t>(size);
  t.byte_strides[i - 1] = size > 1 ? static_cast<std::uint64_t>(bytes) : 16;
  t.box[i] = static_cast<std::uint32_t>(box);
}

TiledTensor tensor_of(void* data, std::int64_t columns, DType dtype, std::uint32_t rank) {
  TiledTensor t;
  t.type = dtype == DType::bf16 ? kTensorBf16 : kTensorFp16;
  t.rank = rank;
  t.data = data;
  t.shape[0] = static_cast<std::uint64_t>(columns);
  t.box[0] = kPanel;
  return t;
}

TiledTensor tiled(const Side& side, DType dtype, std::int64_t rows) {
  TiledTensor t = tensor_of(side.data, side.columns, dtype, 4);
  for (int i = 0; i < 3; ++i) {
    set_dimension(t, i + 1, side.shape[i], side.strides[i] * bytes_of(dtype), i == 0 ? rows : 1);
  }
  return t;
}

// q or out, the heads of a group beside each other: a box has rows in the kernel's order.
constexpr int kRows = 64;      // of q: a warpgroup's
constexpr int kWarpRows = 16;  // of out: a warp's

TiledTensor tiled(const Problem& p, const Rows& rows, std::int64_t columns, DType dtype,
                  std::int64_t box_rows) {
  const std::int64_t group = p.q_heads / p.kv_heads;
  const bool ragged = p.q_offsets.data != nullptr;
  const std::int64_t shape[] = {group, ragged ? p.q_tokens : p.q_len, p.kv_heads,
                                ragged ? 1 : p.batch};
  const std::int64_t strides[] = {rows.head_stride, rows.token_stride, rows.head_stride * group,
                                  rows.batch_stride};
  const std::int64_t box[] = {group, box_rows / group, 1, 1};
  TiledTensor t = tensor_of(rows.data, columns, dtype, 5);
  for (int i = 0; i < 4; ++i) {
    set_dimension(t, i + 1, shape[i], strides[i] * bytes_of(dtype), box[i]);
  }
  return t;
}

// Where boxes are not whole tokens, or strides are none that TMA knows, the kernel does without.
bool has_boxes(const TiledTensor& t, std::int64_t box_rows) {
  const auto most = static_cast<std::uint64_t>(kMostRows);
  return static_cast<std::int64_t>(t.box[1]) * t.box[2] == box_rows &&
         std::all_of(t.shape, t.shape + t.rank, [&](std::uint64_t n) { return n <= most; }) &&
         std::all_of(t.byte_strides, t.byte_strides + t.rank - 1, [](std::uint64_t bytes) {
           return bytes > 0 && bytes <= static_cast<std::uint64_t>(kMostStride);
         });
}

// A block's rows; in pages as many as divide both a page and the block.
int piece_of(const Problem& p, const ForwardConfig& config) {
  if (p.page_size == 0) return config.block_kv;
  const auto block = static_cast<std::int64_t>(config.block_kv);
  return static_cast<int>(std::min(p.page_size, block & -block));
}

// Keys and values that a group of streams may have and find again in the L2 cache, of 50 MB here.
constexpr std::int64_t kCached = 32 << 20;

bool has_one_length(const Problem& p) {
  return p.q_offsets.data == nullptr && p.kv_offsets.data == nullptr && p.q_used.data == nullptr &&
         p.kv_used.data == nullptr && p.left_pad.data == nullptr;
}

// Seams between groups cost balance, and no seams cost traffic: with more streams than CTAs no two
// tiles in flight share what they read, and at 128 rows a key the products then want 4 TB/s of the
// memory. So all streams go together where three CTAs or more are at each, or all of them fit into
// the cache. Else tiles alike go stream by stream, and those of a mask in groups of two tiles a
// CTA. Where that does not come out even, or lengths are the device's to know, groups of 64 MB
// (docs/lab/hopper_forward.md).
TileOrder order_of(const Problem& p, const ForwardConfig& config, const kernels::ForwardParams& f,
                   int ctas) {
  TileOrder order = {};
  order.tiles = f.tiles;
  order.streams = f.batch * f.kv_heads * f.splits * f.value_chunks;
  order.together = std::max(order.streams, 1);
  const std::int64_t bytes = p.kv_len * (p.head_dim + p.value_dim) * bytes_of(p.dtype);
  if (3 * order.streams <= ctas || bytes * p.batch * p.kv_heads <= kCached) return order;
  const int in_pairs = std::max(1, 2 * ctas / std::max(order.tiles, 1));
  const int dealt = in_pairs * order.tiles;
  const bool one_length = has_one_length(p);
  if (one_length && config.band == 0) {
    order.together = 1;
  } else if (one_length && dealt <= 2 * ctas && 20 * dealt >= 19 * 2 * ctas) {
    order.together = std::min(in_pairs, order.streams);
    order.pairs = 1;
  } else if (std::int64_t{192} * order.streams > std::int64_t{ctas} * kernels::block_q(config)) {
    order.together =
        static_cast<int>(std::clamp<std::int64_t>(2 * kCached / bytes, 1, order.streams));
  }
  return order;
}

Status encode(const Driver& driver, const TiledTensor& tensor, kernels::TensorMap& map) {
  CUtensorMap encoded;
  RAPT_RETURN_IF_ERROR(driver.encode(tensor, encoded));
  map = std::bit_cast<kernels::TensorMap>(encoded);
  return {};
}

}  // namespace

bool suits_hopper(const Problem& p) { return p.q_len * (p.q_heads / p.kv_heads) > 64; }

bool has_slots(const Problem& p) { return p.page_size > 0 && p.page_size < kLeastPage; }

Refusal refuse_hopper_layout(const Problem& p) {
  if (turned(p)) {
    return Refusal::because(
        "k_pages: page_layout is one whose rows are not contiguous, this kernel wants them so");
  }
  if (const Refusal why = refuse_side(k_side(p), p.dtype); why.refuses()) return why;
  return refuse_side(v_side(p), p.dtype);
}

Status set_hopper_params(const Driver& driver, const Problem& p, const ForwardConfig& config,
                         int ctas, HopperParams& params) {
  params.piece = piece_of(p, config);
  params.order = order_of(p, config, params.forward, ctas);
  const TiledTensor q = tiled(p, p.q, p.head_dim, p.dtype, kRows);
  if (has_boxes(q, kRows)) {
    params.q_box = static_cast<int>(q.box[2]);
    RAPT_RETURN_IF_ERROR(encode(driver, q, params.q));
  }
  const TiledTensor out = tiled(p, p.out, p.value_dim, p.out_dtype, kWarpRows);
  if (kernels::hopper_room(config).staged != 0 && has_boxes(out, kWarpRows)) {
    params.out_box = static_cast<int>(out.box[2]);
    RAPT_RETURN_IF_ERROR(encode(driver, out, params.out));
  }
  if (has_slots(p)) return {};
  RAPT_RETURN_IF_ERROR(encode(driver, tiled(k_side(p), p.dtype, params.piece), params.k));
  return encode(driver, tiled(v_side(p), p.dtype, params.piece), params.v);
}

}  // namespace rapt::cuda
