// SPDX-License-Identifier: Apache-2.0 OR MIT
// The first candidate that fits the device's shared memory is the tile.
#include "backend/cuda/forward_configs.h"

#include <algorithm>
#include <string>

#include "backend/cuda/config_text.h"
#include "backend/cuda/hopper.h"
#include "backend/cuda/views.h"
#include "backend/cuda/wgmma_text.h"
#include "kernels/cuda/hopper/budget.h"

namespace rapt::cuda {
namespace {

using kernels::block_q;
using kernels::ForwardConfig;
using kernels::KvKind;

struct Tile {
  int row_frags, warps_q, warps_kv, block_kv;
};

// Head sizes that kernels are compiled for; others are padded up. The value dimension beyond 256
// goes over several blocks, since its sums fill the registers.
constexpr int kHeadDims[] = {64, 96, 128, 192, 256, 512};
constexpr int kMostColumns = 256;

int round_up(std::int64_t dim) {
  return *std::lower_bound(std::begin(kHeadDims), std::end(kHeadDims), static_cast<int>(dim));
}

// Any feature that wants scores in natural units before the exponential.
bool wants_natural_scores(const Problem& p) {
  return p.softcap != 0.0f || p.alibi != nullptr || p.bias != nullptr || !(p.scale > 0.0f);
}

bool has_band(const Problem& p) {
  return p.mask_left != RAPT_UNBOUNDED || p.mask_right != RAPT_UNBOUNDED;
}

// Candidates in order of preference. No vector: a warm launch allocates nothing.
struct Tiles {
  Tile at[10];
  int count = 0;

  void add(const Tile& tile) { at[count++] = tile; }
};

// A decode step's few rows: groups of warps share out the keys.
void add_short_tiles(std::int64_t rows, int head_dim, Tiles& tiles) {
  if (rows > 64) return;
  const int warps_q = rows <= 16 ? 1 : (rows <= 32 ? 2 : 4);
  for (int warps_kv = 8 / warps_q; warps_kv >= 1; warps_kv /= 2) {
    if (head_dim * warps_kv > 1024) continue;  // several blocks to a multiprocessor
    tiles.add({1, warps_q, warps_kv, 16});
  }
}

// Measured on an H200, docs/lab/cuda_portable.md. Features of the score want registers, which a
// second fragment of rows would take.
Tiles portable_tiles(std::int64_t rows, int dim, bool heavy, bool band) {
  Tiles tiles;
  add_short_tiles(rows, dim, tiles);
  if (dim <= 64 && !heavy && !band) tiles.add({2, 4, 1, 128});
  if (dim <= 128 && !heavy) tiles.add({2, 4, 1, 64});
  if (dim <= 256) {
    tiles.add({1, 8, 1, 64});
    tiles.add({1, 4, 1, 32});
  }
  tiles.add({1, 2, 1, 32});
  tiles.add({1, 2, 1, 16});
  return tiles;
}

// docs/lab/hopper_forward.md. Three warpgroups of 64 rows where their sums leave room for scores;
// two at D128 where sequences or windows are short, since a tile of 192 rows wastes more at its
// edges. Boxes of pages want blocks that many rows divide; features of the score want registers.
Tiles hopper_tiles(std::int64_t rows, int dim, bool heavy, const Problem& p) {
  Tiles tiles;
  const bool light = !heavy && p.page_size == 0;
  const bool narrow = p.mask_left != RAPT_UNBOUNDED;
  if (dim <= 64 && light && rows > 128) tiles.add({1, 12, 1, 128});
  if (dim == 128 && light && rows > 1024 && !narrow) tiles.add({1, 12, 1, 80});
  if (dim <= 128 && !heavy) tiles.add({1, 8, 1, 128});
  if (dim <= 128) tiles.add({1, 8, 1, 64});
  if (dim == 192 && light) tiles.add({1, 8, 1, 112});
  if (dim == 256 && light) tiles.add({1, 8, 1, 80});
  if (dim <= 256) tiles.add({1, 8, 1, 64});
  tiles.add({1, 8, 1, 32});
  tiles.add({1, 8, 1, 16});
  return tiles;
}

Tiles fma_tiles(std::int64_t rows, int dim, bool heavy) {
  Tiles tiles;
  if (rows <= 16) tiles.add({1, 1, 1, 32});
  if (dim <= 128 && !heavy && rows > 64) tiles.add({2, 4, 1, 64});
  tiles.add({1, 4, 1, 64});
  tiles.add({1, 2, 1, 32});
  tiles.add({1, 1, 1, 16});
  return tiles;
}

int pitch(int dim) { return (dim + 63) / 64 * 64; }  // kernels/cuda/kit/tile_load.cuh: row_pitch

std::uint32_t portable_shared_bytes(const ForwardConfig& c) {
  const int keys = c.block_kv * (pitch(c.head_dim) + pitch(c.value_dim)) * 2;
  const int tiles = block_q(c) * pitch(c.head_dim) * 2 + keys * c.warps_kv;
  const int merged = 2 * c.row_frags * (c.value_dim / 4 + 2) * 32 * c.warps_q * 4;
  return static_cast<std::uint32_t>(std::max(tiles, merged * (c.warps_kv - 1)));
}

std::uint32_t fma_shared_bytes(const ForwardConfig& c) {
  const int rows = block_q(c), keys = c.block_kv;
  const int floats = rows * (c.head_dim + 4) + keys * (c.head_dim + 4) + keys * c.value_dim +
                     rows * (c.block_kv + 4);
  return static_cast<std::uint32_t>(floats * 4);
}

// The text behind a kernel's: its configuration and its entry. One block to a multiprocessor where
// its warpgroups share out the registers among themselves.
std::string entry_text(const char* kernel, const void* bytes, const char* params = "ForwardParams",
                       bool alone = false) {
  const auto config = config_of<ForwardConfig>(bytes);
  const std::string type = std::string(kernel) + "<kConfig>";
  std::string text = "using namespace rapt::kernels;\n" + config_constant("ForwardConfig", config);
  text += "extern \"C\" __global__ void __launch_bounds__(" + type + "::kThreads";
  text += alone ? ", 1)\n" : ")\n";
  text += std::string("rapt_forward(const __grid_constant__ ") + params + " p) { " + type +
          "::run(p); }\n";
  return text;
}

std::string words(const void* bytes) { return config_words(config_of<ForwardConfig>(bytes)); }

std::string hopper_text(const void* bytes) {
  const auto c = config_of<ForwardConfig>(bytes);
  std::string text = wgmma_text(c.element, c.block_kv);
  if (c.value_dim != c.block_kv) text += wgmma_text(c.element, c.value_dim);
  return text + entry_text("HopperForward", bytes, "HopperParams", true);
}
std::string portable_text(const void* config) { return entry_text("PortableForward", config); }
std::string fma_text(const void* config) { return entry_text("FmaForward", config); }
std::string combine_text(const void* config) { return entry_text("Combine", config); }

template <ForwardKind kind>
std::uint32_t shared_bytes(const void* bytes) {
  return shared_bytes_of(kind, config_of<ForwardConfig>(bytes));
}

}  // namespace

const KernelFamily& forward_family(ForwardKind kind) {
  static constexpr KernelFamily kHopper = {
      "cuda/hopper_forward", "hopper/forward.cuh",
      "rapt_forward",        words,
      hopper_text,           shared_bytes<ForwardKind::hopper>};
  static constexpr KernelFamily kPortable = {
      "cuda/portable_forward", "portable/forward.cuh",
      "rapt_forward",          words,
      portable_text,           shared_bytes<ForwardKind::portable>};
  static constexpr KernelFamily kFma = {
      "cuda/portable_fma_forward",   "portable/forward_fma.cuh", "rapt_forward", words, fma_text,
      shared_bytes<ForwardKind::fma>};
  if (kind == ForwardKind::hopper) return kHopper;
  return kind == ForwardKind::portable ? kPortable : kFma;
}

const KernelFamily& combine_family() {
  static constexpr KernelFamily kCombine = {"cuda/combine", "combine.cuh", "rapt_forward",
                                            words,          combine_text,  no_shared_bytes};
  return kCombine;
}

void configure_features(const Problem& p, ForwardConfig* c) {
  c->out_element = element_of(p.out_dtype);
  c->kv = KvKind::rows;
  if (p.page_size > 0) {
    c->kv = turned(p) ? KvKind::turned : KvKind::pages;
  }
  c->natural = wants_natural_scores(p) ? 1 : 0;
  c->band = has_band(p) ? 1 : 0;
  c->softcap = p.softcap != 0.0f ? 1 : 0;
  c->alibi = p.alibi != nullptr ? 1 : 0;
  c->bias = p.bias != nullptr ? 1 + static_cast<int>(element_of(p.bias_dtype)) : 0;
  c->sinks = p.sinks != nullptr ? 1 : 0;
  c->dropout = p.dropout_keep < 256 ? 1 : 0;
}

bool configure_forward(ForwardKind kind, const Problem& p, std::int64_t q_len,
                       const ForwardLimits& limits, ForwardConfig* config) {
  const std::int64_t rows = q_len * (p.q_heads / p.kv_heads);
  ForwardConfig c = *config;
  configure_features(p, &c);
  if (kind == ForwardKind::hopper && has_slots(p)) c.kv = KvKind::slots;
  c.element = element_of(p.dtype);
  c.head_dim = round_up(p.head_dim);
  c.value_dim = std::min(round_up(p.value_dim), kMostColumns);
  if (kind == ForwardKind::fma) c.value_dim = pitch(c.value_dim);  // 64 columns a step
  const int dim = std::max(c.head_dim, c.value_dim);
  const bool heavy = wants_natural_scores(p) || p.dropout_keep < 256;
  const Tiles tiles = kind == ForwardKind::hopper ? hopper_tiles(rows, dim, heavy, p)
                      : kind == ForwardKind::portable
                          ? portable_tiles(rows, dim, heavy, has_band(p))
                          : fma_tiles(rows, dim, heavy);
  for (int i = 0; i < tiles.count; ++i) {
    const Tile& tile = tiles.at[i];
    c.row_frags = tile.row_frags;
    c.warps_q = tile.warps_q;
    c.warps_kv = tile.warps_kv;
    c.block_kv = tile.block_kv;
    if (shared_bytes_of(kind, c) > static_cast<std::uint32_t>(limits.max_shared_bytes)) continue;
    *config = c;
    return true;
  }
  return false;
}

ForwardConfig combine_config(const ForwardConfig& config) {
  ForwardConfig c;
  c.element = config.element;
  c.out_element = config.out_element;
  c.value_dim = 512;
  c.row_frags = config.row_frags;
  c.warps_q = config.warps_q;
  c.aligned = config.aligned;
  c.natural = config.natural;
  c.sinks = config.sinks;
  c.dropout = config.dropout;
  return c;
}

// Two blocks a multiprocessor are enough. A split is worth a quarter of the keys while they are
// few, 512 of them when they are many: at 1 x 8192 on an H200 16 splits take 19.6 us, 32 take 23.6;
// at 1 x 512 four take 11.2, one 14.7.
Grain grain_of(const ForwardConfig& c, std::int64_t kv_len, const ForwardLimits& limits) {
  Grain grain;
  grain.rows = block_q(c);
  grain.block_kv = std::int64_t{c.block_kv} * c.warps_kv;
  grain.split_keys = std::clamp<std::int64_t>(kv_len / 4, 128, 512);
  grain.split_items = std::int64_t{2} * limits.multiprocessors;
  return grain;
}

std::uint32_t threads_of(ForwardKind kind, const ForwardConfig& c) {
  if (kind == ForwardKind::hopper) return static_cast<std::uint32_t>(kernels::hopper_threads(c));
  const int warps = c.warps_q * (kind == ForwardKind::portable ? c.warps_kv : 2);
  return static_cast<std::uint32_t>(32 * warps);
}

std::uint32_t shared_bytes_of(ForwardKind kind, const ForwardConfig& c) {
  if (kind == ForwardKind::hopper) {
    return static_cast<std::uint32_t>(kernels::hopper_shared_bytes(c));
  }
  return kind == ForwardKind::portable ? portable_shared_bytes(c) : fma_shared_bytes(c);
}

}  // namespace rapt::cuda
