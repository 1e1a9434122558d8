// SPDX-License-Identifier: Apache-2.0 OR MIT
// Fills a forward kernel's parameters and launches it, and the combine where keys are split.
#include "backend/cuda/forward.h"

#include <algorithm>

#include "backend/cuda/hopper.h"
#include "backend/cuda/jit.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/problem_params.h"
#include "backend/cuda/views.h"
#include "kernels/cuda/forward_params.h"

namespace rapt::cuda {
namespace {

using kernels::ForwardConfig;
using kernels::ForwardParams;

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

void set_division(const Grid& grid, const ForwardConfig& config, void* workspace,
                  ForwardParams& f) {
  f.tiles = static_cast<int>(grid.tiles);
  f.splits = static_cast<int>(grid.splits);
  f.split_keys = static_cast<int>(grid.split_keys);
  f.value_chunks = (f.value_dim + config.value_dim - 1) / config.value_dim;
  f.partial_out = static_cast<float*>(workspace);
  f.partial_stats = f.partial_out + grid.partial_rows * f.value_dim;
}

ForwardParams params_of(const Problem& p, const Grid& grid, const ForwardConfig& config,
                        void* workspace) {
  ForwardParams f = problem_params(p);
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
  if (const Refusal why = refuse_lengths(p); why.refuses()) return why;
  ForwardConfig config;
  if (!configure_forward(kind, p, p.q_len, limits_of(device), &config)) {
    return refuse_tiles(p, device);
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
