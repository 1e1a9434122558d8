// SPDX-License-Identifier: Apache-2.0 OR MIT
// Fills a backward's parameters and launches its kernels, one after another on the stream.
#include "backend/cuda/backward.h"

#include <algorithm>
#include <bit>

#include "backend/cuda/launch.h"
#include "backend/cuda/problem_params.h"
#include "backend/cuda/views.h"
#include "kernels/cuda/backward_params.h"

namespace rapt::cuda {
namespace {

using kernels::BackwardConfig;
using kernels::BackwardParams;
using kernels::RowsPart;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// How many of everything; the kernels find their own inside these bounds.
struct Sizes {
  std::int64_t tiles;       // of all sequences, of one kv head (first_tile in backward_walk.cuh)
  std::int64_t most_tiles;  // of the longest sequence
  std::int64_t key_blocks;  // of the longest sequence

  Sizes(const Problem& p, const BackwardConfig& c) {
    const std::int64_t group = p.q_heads / p.kv_heads;
    tiles = p.q_tokens * group / c.block_q + p.batch;
    most_tiles = std::max<std::int64_t>(ceil_div(p.q_len * group, c.block_q), 1);
    key_blocks = ceil_div(p.kv_len, c.block_kv);
  }
};

// The workspace, piece by piece, in bytes; each piece begins on a whole cache line.
class Pieces {
 public:
  explicit Pieces(void* memory) : memory_(static_cast<std::byte*>(memory)) {}

  template <typename T>
  T* take(std::int64_t count) {
    constexpr std::size_t kLine = 128;
    const std::size_t at = used_;
    used_ += (static_cast<std::size_t>(count) * sizeof(T) + kLine - 1) / kLine * kLine;
    return memory_ == nullptr || count == 0 ? nullptr : reinterpret_cast<T*>(memory_ + at);
  }
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

void place_sums(const Gradient& g, const BackwardConfig& c, const Sizes& sizes, Pieces& pieces,
                BackwardParams& b) {
  const std::int64_t tiles = sizes.tiles * g.forward.kv_heads, rows = tiles * c.block_q;
  b.dq_sums = pieces.take<float>(rows * c.head_dim);
  b.stats = pieces.take<kernels::RowStats>(rows);
  b.slope_sums = pieces.take<float>(g.d_slopes != nullptr ? rows : 0);
  b.turns = pieces.take<unsigned>(tiles);
  b.ticket = pieces.take<unsigned>(1);
}

void set_head_gradients(const Gradient& g, BackwardParams& b) {
  b.d_bias = g.d_bias;
  std::copy(g.d_bias_shape, g.d_bias_shape + 4, b.d_bias_shape);
  std::copy(g.d_bias_strides, g.d_bias_strides + 4, b.d_bias_strides);
  b.d_sinks = g.d_sinks;
  b.d_sinks_stride = g.d_sinks_stride;
  b.d_slopes = g.d_slopes;
  b.d_slopes_batch_stride = g.d_slopes_batch_stride;
  b.d_slopes_head_stride = g.d_slopes_head_stride;
}

BackwardParams params_of(const Gradient& g, const BackwardConfig& c, const Sizes& sizes,
                         void* workspace) {
  BackwardParams b = {};
  Pieces pieces(workspace);
  b.forward = problem_params(g.forward);
  b.d_out = param(g.d_out);
  b.dq = param(g.dq);
  b.dk = param(g.dk);
  b.dv = param(g.dv);
  place_sums(g, c, sizes, pieces, b);
  b.tiles = sizes.tiles;
  b.most_tiles = static_cast<int>(sizes.most_tiles);
  b.key_blocks = static_cast<int>(sizes.key_blocks);
  const auto group = static_cast<unsigned>(b.forward.group);
  b.group_shift = std::has_single_bit(group) ? std::countr_zero(group) : -1;
  b.keep_factor = 256.0f / static_cast<float>(g.forward.dropout_keep);
  set_head_gradients(g, b);
  return b;
}

bool all_aligned(const Gradient& g) {
  const Problem& p = g.forward;
  for (const Rows* rows : {&p.q, &p.k, &p.v, &g.dq, &g.dk, &g.dv}) {
    if (!aligned(*rows, p.dtype)) return false;
  }
  return aligned(p.out, p.out_dtype) && aligned(g.d_out, p.out_dtype);
}

bool configure(BackwardKind kind, const Gradient& g, BackwardConfig* config) {
  if (!configure_backward(kind, g, limits_of(device_of(g.forward)), config)) return false;
  config->aligned = all_aligned(g) ? 1 : 0;
  return true;
}

// Whether dk and dv have rows that no block of keys writes.
bool has_unused_keys(const Problem& p) {
  return p.kv_used.data != nullptr || p.left_pad.data != nullptr || p.cache_row.data != nullptr ||
         (p.kv_offsets.data == nullptr && p.cache_rows != p.batch);
}

// One backward's kernels, found before the first is launched: what is missing under a capture is
// refused with nothing queued.
class Launches {
 public:
  Launches(BackwardKind kind, const Gradient& g, const BackwardConfig& config, const Target& target)
      : g_(g), p_(g.forward), kind_(kind), config_(config), sizes_(p_, config), target_(target) {}

  Status queue(void* workspace) {
    const std::int64_t heads = p_.batch * p_.kv_heads;
    const auto rows = [&](RowsPart part, std::int64_t blocks) {
      return add(backward_rows_family(), rows_config(kind_, config_, part), blocks,
                 kernels::kBackwardRowsThreads);
    };
    const std::uint32_t threads = backward_threads(kind_, config_);
    if (has_unused_keys(p_)) {
      RAPT_RETURN_IF_ERROR(rows(RowsPart::clear, p_.cache_rows * p_.kv_len));
    }
    RAPT_RETURN_IF_ERROR(rows(RowsPart::prepare, heads * sizes_.most_tiles));
    RAPT_RETURN_IF_ERROR(add(backward_family(kind_), config_, heads * sizes_.key_blocks, threads));
    if (g_.d_bias != nullptr) {
      RAPT_RETURN_IF_ERROR(
          add(backward_family(steady()), bias_config(config_), bias_blocks(), threads));
    }
    RAPT_RETURN_IF_ERROR(rows(RowsPart::finish, heads * sizes_.most_tiles));
    if (g_.d_sinks != nullptr || g_.d_slopes != nullptr) {
      RAPT_RETURN_IF_ERROR(rows(RowsPart::heads, p_.q_heads));
    }
    BackwardParams params = params_of(g_, config_, sizes_, workspace);
    for (int i = 0; i < count_; ++i) {
      const One& one = all_[i];
      RAPT_RETURN_IF_ERROR(launch(*one.kernel, {one.blocks}, one.threads, params, target_));
    }
    return {};
  }

 private:
  struct One {
    const LoadedKernel* kernel;
    unsigned blocks;
    std::uint32_t threads;
  };

  // d_bias is made in the same order whatever becomes of dQ.
  [[nodiscard]] BackwardKind steady() const {
    return kind_ == BackwardKind::atomic ? BackwardKind::portable : kind_;
  }

  [[nodiscard]] std::int64_t bias_blocks() const {
    const std::int64_t* shape = g_.d_bias_shape;
    return shape[0] * shape[1] * ceil_div(shape[2], config_.block_q) *
           ceil_div(shape[3], config_.block_kv);
  }

  template <class Config>
  Status add(const KernelFamily& family, const Config& config, std::int64_t blocks,
             std::uint32_t threads) {
    if (blocks == 0) return {};
    One& one = all_[count_++];
    one = {nullptr, static_cast<unsigned>(blocks), threads};
    return find_loaded(kernel_key(family, config, device_of(p_).arch), target_, &one.kernel);
  }

  const Gradient& g_;
  const Problem& p_;
  BackwardKind kind_;
  BackwardConfig config_;
  Sizes sizes_;
  const Target& target_;
  One all_[6] = {};
  int count_ = 0;
};

Refusal refuse_grids(const Gradient& g, const BackwardConfig& c) {
  const Problem& p = g.forward;
  const Sizes sizes(p, c);
  const std::int64_t most = std::max(sizes.most_tiles, sizes.key_blocks);
  const bool products = p.batch > 0 && p.kv_heads > kMostBlocks / p.batch / most;
  const bool keys = p.kv_len > 0 && p.cache_rows > kMostBlocks / p.kv_len;
  const std::int64_t* shape = g.d_bias_shape;
  const std::int64_t bias = ceil_div(shape[2], c.block_q) * ceil_div(shape[3], c.block_kv);
  const bool biases = bias > 0 && shape[1] > 0 && shape[0] > kMostBlocks / bias / shape[1];
  if (!products && !keys && !biases) return {};
  return Refusal::because("q: batch, heads and lengths want more blocks than the 2^31 of a grid");
}

}  // namespace

Refusal refuse_backward(BackwardKind kind, const Gradient& g, const Device& device) {
  const Problem& p = g.forward;
  if (p.page_size > 0) {
    return Refusal::because(
        "pages: a CUDA kernel has no gradient of a paged cache; k and v must be dense or ragged");
  }
  if (kind != BackwardKind::fma && p.out_dtype != p.dtype) {
    return Refusal::because("out: is of another type than q, this kernel takes one for both");
  }
  if (const Refusal why = refuse_lengths(p); why.refuses()) return why;
  BackwardConfig config;
  if (!configure_backward(kind, g, limits_of(device), &config)) return refuse_tiles(p, device);
  return refuse_grids(g, config);
}

std::size_t backward_workspace_bytes(BackwardKind kind, const Gradient& g) {
  BackwardConfig config;
  BackwardParams unused = {};
  Pieces counted(nullptr);
  if (configure(kind, g, &config)) {
    place_sums(g, config, Sizes(g.forward, config), counted, unused);
  }
  return counted.used();
}

Status backward(BackwardKind kind, const Gradient& g, void* workspace, const Target& target) {
  BackwardConfig config;
  if (!configure(kind, g, &config)) return internal("kernel: no tile fits any more");
  const DeviceScope scope(g.forward.device_index, target);
  RAPT_RETURN_IF_ERROR(scope.status());
  return Launches(kind, g, config, target).queue(workspace);
}

}  // namespace rapt::cuda
