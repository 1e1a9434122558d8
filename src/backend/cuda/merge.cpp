// SPDX-License-Identifier: Apache-2.0 OR MIT
// merge: parameters and launches. Parts travel as parameters, kMergeParts of them a launch; of
// more, each launch hands what it has merged to the next one as a further part, in FP32.
#include "backend/cuda/merge.h"

#include <algorithm>
#include <string>

#include "backend/cuda/config_text.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/views.h"

namespace rapt::cuda {
namespace {

using kernels::Element;
using kernels::kMergeParts;
using kernels::MergeConfig;
using kernels::MergeParams;

constexpr std::int64_t kMostRows = std::int64_t{1} << 31;  // of a sequence

std::string words(const void* bytes) { return config_words(config_of<MergeConfig>(bytes)); }

// Room for 64 registers: left to itself, ptxas spills at 40.
std::string instantiate(const void* bytes) {
  return "using namespace rapt::kernels;\n" +
         config_constant("MergeConfig", config_of<MergeConfig>(bytes)) +
         "extern \"C\" __global__ void __launch_bounds__(kMergeThreads, 8)\n"
         "rapt_merge(const __grid_constant__ MergeParams p) { Merge<kConfig>::run(p); }\n";
}

const KernelFamily& merge_family() {
  static constexpr KernelFamily kFamily = {"cuda/merge", "merge.cuh", "rapt_merge",
                                           words,        instantiate, no_shared_bytes};
  return kFamily;
}

std::int64_t rows_of(const MergeJob& job) { return job.batch * job.tokens * job.heads; }

Status launch_all(const MergeJob& job, const LoadedKernel& kernel, float* carried,
                  const Target& target) {
  const std::int64_t groups =
      (job.tokens * job.heads + kernels::kMergeRows - 1) / kernels::kMergeRows;
  for (std::size_t first = 0; first < job.out.size(); first += kMergeParts) {
    MergeParams params = merge_params(job, first, carried);
    RAPT_RETURN_IF_ERROR(launch(kernel, {grid_x(groups), grid_y(job.batch)}, kernels::kMergeThreads,
                                params, target));
  }
  return {};
}

}  // namespace

MergeConfig merge_config(const MergeJob& job) {
  MergeConfig config;
  config.element = element_of(job.dtype);
  const auto fits = [&](const Rows& rows) { return aligned(rows, job.dtype); };
  config.aligned = std::ranges::all_of(job.out, fits) && fits(job.merged_out) ? 1 : 0;
  config.chained = job.out.size() > kMergeParts ? 1 : 0;
  return config;
}

MergeParams merge_params(const MergeJob& job, std::size_t first_part, float* carried) {
  MergeParams p = {};
  const std::size_t count = std::min<std::size_t>(job.out.size() - first_part, kMergeParts);
  for (std::size_t i = 0; i < count; ++i) {
    p.parts[i] = {param(job.out[first_part + i]), param(job.lse[first_part + i])};
  }
  p.merged = {param(job.merged_out), param(job.merged_lse)};
  p.batch = job.batch;
  p.tokens = job.tokens;
  p.heads = job.heads;
  p.dim = static_cast<int>(job.dim);
  p.count = static_cast<int>(count);
  p.carried_out = carried;
  p.carried_lse = carried == nullptr ? nullptr : carried + rows_of(job) * job.dim;
  p.takes = first_part > 0 ? 1 : 0;
  p.leaves = first_part + count < job.out.size() ? 1 : 0;
  return p;
}

std::size_t merge_carried_bytes(const MergeJob& job) {
  if (job.out.size() <= kMergeParts) return 0;
  return static_cast<std::size_t>(rows_of(job) * (job.dim + 1)) * sizeof(float);
}

Status merge(const MergeJob& job, const Target& target) {
  if (rows_of(job) == 0) return {};
  if (job.tokens > kMostRows / job.heads) {
    return unsupported("out[0]: q_len is " + std::to_string(job.tokens) + " for " +
                       std::to_string(job.heads) + " heads, this kernel takes 2^31 rows");
  }
  const DeviceScope scope(job.device_index, target);
  RAPT_RETURN_IF_ERROR(scope.status());
  const LoadedKernel* kernel = nullptr;
  RAPT_RETURN_IF_ERROR(scope.find(merge_family(), merge_config(job), &kernel));
  const std::size_t bytes = merge_carried_bytes(job);
  if (bytes == 0) return launch_all(job, *kernel, nullptr, target);
  void* carried = nullptr;
  RAPT_RETURN_IF_ERROR(scope.driver().allocate_async(bytes, carried, scope.stream()));
  Status status = launch_all(job, *kernel, static_cast<float*>(carried), target);
  const Status released = scope.driver().release_async(carried, scope.stream());
  return status.ok() ? released : status;
}

// common: one launch over aligned rows; all: everything there is.
void add_merge_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys) {
  for (const int chained : {0, 1}) {
    for (const int aligned : {1, 0}) {
      if (preset != Preset::all && (chained != 0 || aligned == 0)) continue;
      for (const Element element : {Element::bf16, Element::fp16, Element::fp32}) {
        keys.push_back(kernel_key(
            merge_family(), MergeConfig{.element = element, .aligned = aligned, .chained = chained},
            arch));
      }
    }
  }
}

}  // namespace rapt::cuda
