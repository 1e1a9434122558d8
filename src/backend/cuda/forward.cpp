// SPDX-License-Identifier: Apache-2.0 OR MIT
// Fills a forward kernel's parameters and launches it, and the combine where keys are split.
#include "backend/cuda/forward.h"

#include <algorithm>

#include "backend/cuda/hopper.h"
#include "backend/cuda/jit.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/views.h"
#include "kernels/cuda/forward_params.h"

namespace rapt::cuda {
namespace {

using kernels::ForwardConfig;
using kernels::ForwardParams;

// Lengths and blocks travel as 32-bit integers into the kernels.
constexpr std::int64_t kMostRows = std::int64_t{1} << 30;
constexpr std::int64_t kMostBlocks = INT32_MAX;

ForwardLimits limits_of(const Device& device) {
  return {device.max_shared_bytes, device.multiprocessors};
}

bool all_aligned(const Problem& p) {
  if (!aligned(p.q, p.dtype) || !aligned(p.out, p.out_dtype)) return false;
  if (p.page_size == 0) return aligned(p.k, p.dtype) && aligned(p.v, p.dtype);
  // Turned caches are gathered element by element, whatever their strides.
  if (turned(p)) return true;
  return aligned(p.k_pages, p.dtype) && aligned(p.v_pages, p.dtype);
}

bool configure(ForwardKind kind, const Problem& p, const Grid& grid, const Device& device,
               ForwardConfig* config) {
  if (!configure_forward(kind, p, grid.q_len, limits_of(device), config)) return false;
  config->aligned = all_aligned(p) ? 1 : 0;
  return true;
}

int as_int(std::int64_t x) { return static_cast<int>(x); }  // refuse_forward bounds them

void set_sizes(const Problem& p, ForwardParams& f) {
  f.q_tokens = p.q_tokens;
  f.kv_tokens = p.kv_tokens;
  f.cache_rows = p.cache_rows;
  f.batch = as_int(p.batch);
  f.q_len = as_int(p.q_len);
  f.kv_len = as_int(p.kv_len);
  f.q_heads = as_int(p.q_heads);
  f.kv_heads = as_int(p.kv_heads);
  f.group = as_int(p.q_heads / p.kv_heads);
  f.head_dim = as_int(p.head_dim);
  f.value_dim = as_int(p.value_dim);
}

void set_tensors(const Problem& p, ForwardParams& f) {
  f.q = param(p.q);
  f.k = param(p.k);
  f.v = param(p.v);
  f.out = param(p.out);
  f.lse = param(p.lse);
  if (p.page_size == 0) return;
  f.k_pages = param(p.k_pages);
  f.v_pages = param(p.v_pages);
  f.page_table = p.page_table;
  f.page_table_stride = p.page_table_stride;
  f.pages = p.pages;
  f.page_shift = __builtin_ctzll(static_cast<unsigned long long>(p.page_size));
}

void set_indices(const Problem& p, ForwardParams& f) {
  f.q_offsets = param(p.q_offsets);
  f.kv_offsets = param(p.kv_offsets);
  f.q_used = param(p.q_used);
  f.kv_used = param(p.kv_used);
  f.cache_row = param(p.cache_row);
  f.left_pad = param(p.left_pad);
  f.q_start = param(p.q_start);
  f.kv_start = param(p.kv_start);
}

void set_features(const Problem& p, ForwardParams& f) {
  f.mask_left = p.mask_left;
  f.mask_right = p.mask_right;
  f.sink_tokens = p.sink_tokens;
  f.scale = p.scale;
  f.softcap = p.softcap;
  f.alibi = p.alibi;
  f.alibi_batch_stride = p.alibi_batch_stride;
  f.alibi_head_stride = p.alibi_head_stride;
  f.bias = p.bias;
  f.bias_batch_stride = p.bias_batch_stride;
  f.bias_head_stride = p.bias_head_stride;
  f.bias_q_stride = p.bias_q_stride;
  f.bias_kv_stride = p.bias_kv_stride;
  f.bias_q_len = p.bias_q_len;
  f.bias_kv_len = p.bias_kv_len;
  f.sinks = p.sinks;
  f.sinks_stride = p.sinks_stride;
  f.dropout_seed = p.dropout_seed;
  f.dropout_offset = p.dropout_offset;
  f.dropout_keep = p.dropout_keep;
}

void set_division(const Grid& grid, const ForwardConfig& config, void* workspace,
                  ForwardParams& f) {
  f.tiles = as_int(grid.tiles);
  f.splits = as_int(grid.splits);
  f.split_keys = as_int(grid.split_keys);
  f.value_chunks = (f.value_dim + config.value_dim - 1) / config.value_dim;
  f.partial_out = static_cast<float*>(workspace);
  f.partial_stats = f.partial_out + grid.partial_rows * f.value_dim;
}

ForwardParams params_of(const Problem& p, const Grid& grid, const ForwardConfig& config,
                        void* workspace) {
  ForwardParams f = {};
  set_sizes(p, f);
  set_tensors(p, f);
  set_indices(p, f);
  set_features(p, f);
  set_division(grid, config, workspace, f);
  return f;
}

// Both kernels of a problem as keys; combine only where keys are split.
struct Keys {
  KernelKey forward;
  KernelKey combine;
};

Keys keys_of(ForwardKind kind, ForwardConfig config, const Grid& grid, Arch arch) {
  Keys keys;
  config.split = grid.splits > 1 ? 1 : 0;
  keys.forward = kernel_key(forward_family(kind), config, arch);
  if (config.split != 0) keys.combine = kernel_key(combine_family(), combine_config(config), arch);
  return keys;
}

const Device& device_of(const Problem& p) {
  return Driver::system().devices()[static_cast<std::size_t>(p.device_index)];
}

template <typename Use>
Status for_each_key(ForwardKind kind, const Problem& p, const Grid& grid, Use use) {
  const Device& device = device_of(p);
  ForwardConfig config;
  if (!configure(kind, p, grid, device, &config)) return internal("kernel: no tile fits any more");
  const Keys keys = keys_of(kind, config, grid, device.arch);
  RAPT_RETURN_IF_ERROR(use(keys.forward));
  return keys.combine.family == nullptr ? Status() : use(keys.combine);
}

// Persistent CTAs, one to a multiprocessor.
Status launch_hopper(const LoadedKernel& kernel, const Problem& p, const ForwardConfig& config,
                     const ForwardParams& forward, const Target& target) {
  kernels::HopperParams params = {};
  params.forward = forward;
  const int ctas = device_of(p).multiprocessors;
  RAPT_RETURN_IF_ERROR(set_hopper_params(Driver::system(), p, config, ctas, params));
  const int blocks = std::min(params.order.count(), ctas);
  return launch(kernel, {static_cast<unsigned>(blocks)}, threads_of(ForwardKind::hopper, config),
                params, target);
}

}  // namespace

Refusal refuse_forward(ForwardKind kind, const Problem& p, const Device& device) {
  if (kind == ForwardKind::hopper) {
    if (!all_aligned(p)) {
      return Refusal::because("q: rows of q, k, v or out do not begin on 16 bytes, as TMA wants");
    }
    if (const Refusal why = refuse_hopper_layout(p); why.refuses()) return why;
  }
  if (p.q_len > kMostRows / (p.q_heads / p.kv_heads)) {
    return Refusal::because("q: q_len is ", p.q_len, " for ", p.q_heads / p.kv_heads,
                            " heads a kv head; this kernel takes 2^30 rows");
  }
  if (p.kv_len > kMostRows) {
    return Refusal::because("k: kv_len is ", p.kv_len, ", this kernel takes 2^30");
  }
  ForwardConfig config;
  if (!configure_forward(kind, p, p.q_len, limits_of(device), &config)) {
    return Refusal::because("q: head_dim is ", p.head_dim, ", value_dim ", p.value_dim,
                            "; no tile of them fits the ", device.max_shared_bytes,
                            " bytes of shared memory");
  }
  const std::int64_t rows = p.q_len * (p.q_heads / p.kv_heads);
  const std::int64_t tiles = rows / kernels::block_q(config) + 1;
  // Splits are few where blocks are many: they never pass 2 blocks a multiprocessor.
  if (p.batch > 0 && p.kv_heads > kMostBlocks / 4 / p.batch / tiles) {
    return Refusal::because("q: batch, heads and q_len want more blocks than the 2^31 of a grid");
  }
  return {};
}

Grain forward_grain(ForwardKind kind, const Problem& p, const Device& device) {
  ForwardConfig config;
  if (!configure_forward(kind, p, p.q_len, limits_of(device), &config)) return {};
  return grain_of(config, p.kv_len, limits_of(device));
}

std::size_t forward_workspace_bytes(const Problem& p, std::int64_t partial_rows) {
  return static_cast<std::size_t>(partial_rows * (p.value_dim + 2)) * sizeof(float);
}

Status load_forward(ForwardKind kind, const Problem& p, const Grid& grid, const Target& target) {
  const LoadedKernel* kernel = nullptr;
  return for_each_key(kind, p, grid,
                      [&](const KernelKey& key) { return find_loaded(key, target, &kernel); });
}

Status prepare_forward(ForwardKind kind, const Problem& p, const Grid& grid, const Target& target) {
  return for_each_key(kind, p, grid, [&](const KernelKey& key) {
    if (Jit::system().find(key) != nullptr) return Status();
    RAPT_RETURN_IF_ERROR(refuse_capture(target, key.family->name));
    Jit::system().prepare(key);
    return Status();
  });
}

Status forward(ForwardKind kind, const Problem& p, const Grid& grid, void* workspace,
               const Target& target) {
  const std::int64_t items = p.batch * p.kv_heads * grid.tiles;
  if (items == 0) return {};
  const Device& device = device_of(p);
  ForwardConfig config;
  if (!configure(kind, p, grid, device, &config)) return internal("kernel: no tile fits any more");
  const Keys keys = keys_of(kind, config, grid, device.arch);
  ContextScope scope(Driver::system(), p.device_index, static_cast<CUstream>(target.stream));
  RAPT_RETURN_IF_ERROR(scope.status());
  const LoadedKernel *kernel = nullptr, *combine = nullptr;
  RAPT_RETURN_IF_ERROR(find_loaded(keys.forward, target, &kernel));
  if (grid.splits > 1) RAPT_RETURN_IF_ERROR(find_loaded(keys.combine, target, &combine));
  ForwardParams params = params_of(p, grid, config, workspace);
  if (kind == ForwardKind::hopper) {
    RAPT_RETURN_IF_ERROR(launch_hopper(*kernel, p, config, params, target));
  } else {
    const auto blocks = static_cast<unsigned>(items * grid.splits * params.value_chunks);
    RAPT_RETURN_IF_ERROR(launch(*kernel, {blocks}, threads_of(kind, config), params, target));
  }
  if (combine == nullptr) return {};
  const auto rows = static_cast<unsigned>(items * (kernels::block_q(config) / kCombineRows));
  return launch(*combine, {rows}, kCombineThreads, params, target);
}

}  // namespace rapt::cuda
