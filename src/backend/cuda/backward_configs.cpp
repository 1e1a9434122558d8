// SPDX-License-Identifier: Apache-2.0 OR MIT
// The first candidate that fits the device's shared memory is the tile.
#include "backend/cuda/backward_configs.h"

#include <algorithm>
#include <span>
#include <string>

#include "backend/cuda/config_text.h"
#include "backend/cuda/views.h"

namespace rapt::cuda {
namespace {

using kernels::BackwardConfig;
using kernels::BackwardPart;
using kernels::BackwardRowsConfig;
using kernels::kBackwardWarps;
using kernels::RowsPart;

struct Tile {
  int block_q, block_kv, stages;
  int warps_q, warps_kv;     // S and dP
  int key_warps, row_warps;  // dK and dV; dQ
};

// Candidates in order of preference (docs/lab/portable_backward.md): a warp's share of a product is
// 32 x 32 or 32 x 64 where registers allow, of which each feature of the score wants some.
std::span<const Tile> mma_tiles(int dim, int features) {
  static constexpr Tile k64[] = {
      {128, 128, 2, 4, 2, 4, 4}, {64, 128, 2, 2, 4, 4, 4}, {64, 64, 2, 2, 4, 4, 4}};
  static constexpr Tile k96[] = {{64, 128, 2, 2, 4, 4, 4}, {64, 64, 1, 2, 4, 4, 4}};
  static constexpr Tile k128[] = {
      {64, 128, 2, 2, 4, 4, 2}, {64, 64, 2, 2, 4, 2, 2}, {64, 64, 1, 2, 4, 2, 2}};
  static constexpr Tile k192[] = {{64, 64, 2, 2, 4, 2, 2}, {32, 64, 1, 2, 4, 2, 2}};
  static constexpr Tile k256[] = {
      {64, 64, 2, 2, 4, 2, 2}, {64, 64, 1, 2, 4, 2, 2}, {32, 32, 1, 2, 2, 2, 2}};
  static constexpr Tile k512[] = {{32, 32, 1, 2, 2, 1, 1}, {16, 16, 1, 1, 1, 1, 1}};
  const std::span<const Tile> tiles = dim <= 64    ? std::span<const Tile>(k64)
                                      : dim <= 96  ? std::span<const Tile>(k96)
                                      : dim <= 128 ? std::span<const Tile>(k128)
                                      : dim <= 192 ? std::span<const Tile>(k192)
                                      : dim <= 256 ? std::span<const Tile>(k256)
                                                   : std::span<const Tile>(k512);
  if (dim > 128) return tiles;
  return tiles.subspan(static_cast<std::size_t>(std::min(features, dim <= 64 ? 2 : 1)));
}

struct FmaTile {
  int block, per_thread;
};

std::span<const FmaTile> fma_tiles(int dim) {
  static constexpr FmaTile k128[] = {{64, 4}, {32, 4}, {16, 4}};
  static constexpr FmaTile k512[] = {{16, 2}};
  if (dim > 256) return k512;
  return dim > 128 ? std::span<const FmaTile>(k128).subspan(1) : k128;
}

int round_up(int dim, int unit) { return (dim + unit - 1) / unit * unit; }

// Head sizes that kernels are compiled for; columns are shared out in sixteens among `warps`.
int padded(std::int64_t dim, int warps) {
  constexpr int kHeadDims[] = {64, 96, 128, 192, 256, 512};
  const int* fits =
      std::lower_bound(std::begin(kHeadDims), std::end(kHeadDims), static_cast<int>(dim));
  while (*fits % (16 * warps) != 0) ++fits;
  return *fits;
}

int pitch(int dim) { return round_up(dim, 64); }  // kernels/cuda/kit/tile_load.cuh: row_pitch

// Of the rows in shared memory, lse and rowsum(dO O).
int stats_bytes(const BackwardConfig& c) { return 8 * c.stages * c.block_q; }

std::uint32_t mma_shared_bytes(const BackwardConfig& c) {
  const int row = pitch(c.head_dim) + pitch(c.value_dim);
  const int rows = c.block_kv + c.stages * c.block_q;
  const int tiles = 2 * (rows * row + 2 * c.block_q * pitch(c.block_kv));
  return static_cast<std::uint32_t>(tiles + stats_bytes(c));
}

std::uint32_t fma_shared_bytes(const BackwardConfig& c) {
  const int row = 2 * (c.head_dim + 4) + 2 * (c.value_dim + 4) + 2 * (c.block_kv + 4);
  return static_cast<std::uint32_t>(4 * c.block_q * row + stats_bytes(c));
}

// Beside these: what the CTA agrees on, and parts of d_slopes.
std::uint32_t static_bytes(const BackwardConfig& c) {
  constexpr int kCommon = 512;
  return static_cast<std::uint32_t>(kCommon + 4 * c.slopes * c.block_q * c.warps_kv);
}

bool fits(const BackwardConfig& c, std::uint32_t tiles, const ForwardLimits& limits) {
  return tiles + static_bytes(c) <= static_cast<std::uint32_t>(limits.max_shared_bytes);
}

bool configure_mma(const Problem& p, const ForwardLimits& limits, BackwardConfig& c) {
  const int dim = static_cast<int>(std::max(p.head_dim, p.value_dim));
  const int features = c.natural + c.dropout + c.slopes;
  for (const Tile& tile : mma_tiles(dim, features)) {
    const int warps = kBackwardWarps / std::min(tile.key_warps, tile.row_warps);
    c.head_dim = padded(p.head_dim, warps);
    c.value_dim = padded(p.value_dim, warps);
    c.block_q = tile.block_q;
    c.block_kv = tile.block_kv;
    c.stages = tile.stages;
    c.warps_q = tile.warps_q;
    c.warps_kv = tile.warps_kv;
    c.key_warps = tile.key_warps;
    c.row_warps = tile.row_warps;
    if (fits(c, mma_shared_bytes(c), limits)) return true;
  }
  return false;
}

bool configure_fma(const Problem& p, const ForwardLimits& limits, BackwardConfig& c) {
  c.head_dim = round_up(padded(p.head_dim, 1), 64);
  c.value_dim = round_up(padded(p.value_dim, 1), 64);
  c.stages = 1;
  c.warps_kv = 1;
  for (const FmaTile& tile : fma_tiles(std::max(c.head_dim, c.value_dim))) {
    c.block_q = c.block_kv = tile.block;
    c.per_thread = tile.per_thread;
    if (fits(c, fma_shared_bytes(c), limits)) return true;
  }
  return false;
}

void take_features(const Gradient& g, BackwardConfig& c) {
  kernels::ForwardConfig features;
  configure_features(g.forward, &features);
  c.element = element_of(g.forward.dtype);
  c.out_element = features.out_element;
  c.natural = features.natural;
  c.band = features.band;
  c.softcap = features.softcap;
  c.alibi = features.alibi;
  c.bias = features.bias;
  c.dropout = features.dropout;
  c.slopes = g.d_slopes != nullptr ? 1 : 0;
}

std::string words(const void* bytes) { return config_words(config_of<BackwardConfig>(bytes)); }

// One block to a multiprocessor: its sums take all registers.
std::string entry_text(const char* kernel, const void* bytes) {
  const std::string type = std::string(kernel) + "<kConfig>";
  return "using namespace rapt::kernels;\n" +
         config_constant("BackwardConfig", config_of<BackwardConfig>(bytes)) +
         "extern \"C\" __global__ void __launch_bounds__(" + type + "::kThreads, 1)\n" +
         "rapt_backward(const __grid_constant__ BackwardParams p) { " + type + "::run(p); }\n";
}

std::string mma_text(const void* bytes) { return entry_text("MmaBackward", bytes); }
std::string fma_text(const void* bytes) { return entry_text("FmaBackward", bytes); }

template <std::uint32_t (*bytes_of_config)(const BackwardConfig&)>
std::uint32_t shared_bytes(const void* bytes) {
  return bytes_of_config(config_of<BackwardConfig>(bytes));
}

std::string rows_words(const void* bytes) {
  return config_words(config_of<BackwardRowsConfig>(bytes));
}

std::string rows_text(const void* bytes) {
  return "using namespace rapt::kernels;\n" +
         config_constant("BackwardRowsConfig", config_of<BackwardRowsConfig>(bytes)) +
         "extern \"C\" __global__ void __launch_bounds__(kBackwardRowsThreads)\n"
         "rapt_backward(const __grid_constant__ BackwardParams p) "
         "{ BackwardRows<kConfig>::run(p); }\n";
}

}  // namespace

const KernelFamily& backward_family(BackwardKind kind) {
  static constexpr KernelFamily kPortable = {
      "cuda/portable_backward",      "portable/backward_mma.cuh", "rapt_backward", words, mma_text,
      shared_bytes<mma_shared_bytes>};
  static constexpr KernelFamily kAtomic = {"cuda/portable_backward_atomic",
                                           "portable/backward_mma.cuh",
                                           "rapt_backward",
                                           words,
                                           mma_text,
                                           shared_bytes<mma_shared_bytes>};
  static constexpr KernelFamily kFma = {
      "cuda/portable_fma_backward",  "portable/backward_fma.cuh", "rapt_backward", words, fma_text,
      shared_bytes<fma_shared_bytes>};
  if (kind == BackwardKind::fma) return kFma;
  return kind == BackwardKind::portable ? kPortable : kAtomic;
}

const KernelFamily& backward_rows_family() {
  static constexpr KernelFamily kRows = {
      "cuda/backward_rows", "portable/backward_rows.cuh", "rapt_backward", rows_words, rows_text,
      no_shared_bytes};
  return kRows;
}

bool configure_backward(BackwardKind kind, const Gradient& g, const ForwardLimits& limits,
                        BackwardConfig* config) {
  BackwardConfig c;
  take_features(g, c);
  c.ordered = kind == BackwardKind::atomic ? 0 : 1;
  const bool found = kind == BackwardKind::fma ? configure_fma(g.forward, limits, c)
                                               : configure_mma(g.forward, limits, c);
  if (found) *config = c;
  return found;
}

BackwardConfig bias_config(const BackwardConfig& config) {
  BackwardConfig c = config;
  c.part = BackwardPart::bias;
  c.stages = 1;
  c.slopes = 0;
  c.ordered = 1;
  return c;
}

BackwardRowsConfig rows_config(BackwardKind kind, const BackwardConfig& config, RowsPart part) {
  BackwardRowsConfig c;
  const bool fragments = kind != BackwardKind::fma;
  c.part = part;
  c.aligned = config.aligned;
  c.element = config.element;
  c.out_element = config.element;
  if (part == RowsPart::clear) return c;
  c.block_q = config.block_q;
  c.fragments = fragments ? 1 : 0;
  c.exact = config.element == kernels::Element::fp32 ? 1 : 0;
  if (part == RowsPart::heads) return c;
  c.head_dim = config.head_dim;
  if (part == RowsPart::prepare) c.out_element = config.out_element;
  return c;
}

std::uint32_t backward_threads(BackwardKind kind, const BackwardConfig& c) {
  return static_cast<std::uint32_t>(kind == BackwardKind::fma ? c.block_q / c.per_thread * 16
                                                              : 32 * kBackwardWarps);
}

}  // namespace rapt::cuda
