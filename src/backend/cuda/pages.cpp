// SPDX-License-Identifier: Apache-2.0 OR MIT
// Whole pages: moved by a kernel where both caches are on the device, by copies where one of them
// is in host memory.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "backend/cuda/cache.h"
#include "backend/cuda/config_text.h"
#include "backend/cuda/launch.h"
#include "page_walk.h"

namespace rapt::cuda {
namespace {

using kernels::MoveConfig;
using kernels::MoveParams;

constexpr std::int64_t kMostUnits = std::int64_t{1} << 31;  // of a page

std::string words(const void* bytes) { return config_words(config_of<MoveConfig>(bytes)); }

std::string instantiate(const void* bytes) {
  return "using namespace rapt::kernels;\n" +
         config_constant("MoveConfig", config_of<MoveConfig>(bytes)) +
         "extern \"C\" __global__ void __launch_bounds__(kMoveThreads)\n"
         "rapt_move_pages(const __grid_constant__ MoveParams p) { MovePages<kConfig>::run(p); }\n";
}

const KernelFamily& move_family() {
  static constexpr KernelFamily kFamily = {
      "cuda/move_pages", "pages.cuh", "rapt_move_pages", words, instantiate, no_shared_bytes};
  return kFamily;
}

// The largest access that every run begins on and is a multiple of.
int unit_of(const PageJob& job, const PageWalk& walk) {
  auto bits = static_cast<std::uint64_t>(walk.run_bytes);
  bits |= reinterpret_cast<std::uintptr_t>(job.from) | reinterpret_cast<std::uintptr_t>(job.to);
  const auto add = [&](std::int64_t stride) {
    bits |= static_cast<std::uint64_t>(stride * walk.element_bytes);
  };
  const bool copies = job.from != nullptr;
  add(job.to_page_stride);
  if (copies) add(job.from_page_stride);
  for (std::int32_t d = 0; d < walk.outer; ++d) {
    add(job.to_strides[d]);
    if (copies) add(job.from_strides[d]);
  }
  return static_cast<int>(std::min<std::uint64_t>(bits & (~bits + 1), 16));
}

// One page of a move, by its ids in host memory.
struct Move {
  std::int64_t source = 0;
  std::int64_t target = 0;
};

Status out_of_range(std::int64_t entry, const char* side, std::int64_t page, std::int64_t pages) {
  return invalid("pairs: entry " + std::to_string(entry) + side + " is " + std::to_string(page) +
                 ", there are " + std::to_string(pages) + " pages");
}

Status check_moves(const PageJob& job, const std::vector<Move>& moves) {
  for (std::size_t i = 0; i < moves.size(); ++i) {
    const auto [source, target] = moves[i];
    const auto entry = static_cast<std::int64_t>(i);
    if (source < 0 || source >= job.from_pages) {
      return out_of_range(entry, "[0]", source, job.from_pages);
    }
    if (target < 0 || target >= job.to_pages) {
      return out_of_range(entry, "[1]", target, job.to_pages);
    }
  }
  return {};
}

// The pairs as they will be when all that is queued so far is done.
Status read_back(const PageJob& job, const Driver& driver, CUstream stream,
                 std::vector<std::int64_t>* pairs) {
  bool capturing = false;
  RAPT_RETURN_IF_ERROR(driver.is_capturing(stream, capturing));
  if (capturing) {
    return unsupported(
        "pairs: are on the device and a graph is being captured; one cache is in host memory, so "
        "they must be there too");
  }
  pairs->resize(static_cast<std::size_t>((job.count - 1) * job.index_stride + 2));
  return driver.read_back(job.sources, std::as_writable_bytes(std::span(*pairs)), stream);
}

Status list_moves(const PageJob& job, const Driver& driver, CUstream stream,
                  std::vector<Move>* moves) {
  std::vector<std::int64_t> copied;
  const std::int64_t* pairs = job.sources;
  if (job.index_kind != DeviceKind::cpu) {
    RAPT_RETURN_IF_ERROR(read_back(job, driver, stream, &copied));
    pairs = copied.data();
  }
  for (std::int64_t i = 0; i < job.count; ++i) {
    moves->push_back({pairs[i * job.index_stride], pairs[i * job.index_stride + 1]});
  }
  return check_moves(job, *moves);
}

Status launch_moves(const PageJob& job, const DeviceScope& scope, const Target& target) {
  constexpr std::int64_t kChunk = kernels::kMoveThreads * kernels::kMoveLoads;
  RAPT_RETURN_IF_ERROR(check_pages(job));
  const MoveConfig config = move_config(job);
  const LoadedKernel* kernel = nullptr;
  RAPT_RETURN_IF_ERROR(scope.find(move_family(), config, &kernel));
  MoveParams params = move_params(job, config);
  const Dim3 grid = {grid_x(params.moves), grid_y((params.page_units + kChunk - 1) / kChunk)};
  return launch(*kernel, grid, kernels::kMoveThreads, params, target);
}

}  // namespace

MoveConfig move_config(const PageJob& job) {
  const PageWalk walk = walk_of(job);
  MoveConfig config;
  config.unit_bytes = unit_of(job, walk);
  config.clear = job.from == nullptr ? 1 : 0;
  config.strided = walk.outer > 0 ? 1 : 0;
  return config;
}

MoveParams move_params(const PageJob& job, const MoveConfig& config) {
  const PageWalk walk = walk_of(job);
  MoveParams p = {};
  p.from = job.from;
  p.to = job.to;
  p.from_page_stride = job.from_page_stride * walk.element_bytes;
  p.to_page_stride = job.to_page_stride * walk.element_bytes;
  p.from_pages = job.from_pages;
  p.to_pages = job.to_pages;
  p.sources = static_cast<const long long*>(static_cast<const void*>(job.sources));
  p.targets = static_cast<const long long*>(static_cast<const void*>(job.targets));
  p.index_stride = job.index_stride;
  p.moves = job.count;
  p.run_units = walk.run_bytes / config.unit_bytes;
  p.page_units = page_bytes(job, walk) / config.unit_bytes;
  p.outer = walk.outer;
  for (std::int32_t d = 0; d < walk.outer; ++d) {
    p.shape[d] = job.shape[d];
    p.from_strides[d] = job.from_strides[d] * walk.element_bytes;
    p.to_strides[d] = job.to_strides[d] * walk.element_bytes;
  }
  return p;
}

Status check_pages(const PageJob& job) {
  const MoveConfig config = move_config(job);
  const std::int64_t units = move_params(job, config).page_units;
  if (units <= kMostUnits) return {};
  return unsupported("cache: a page is " + std::to_string(units) + " accesses of " +
                     std::to_string(config.unit_bytes) + " bytes, this kernel takes 2^31");
}

Status swap_with_host(const PageJob& job, const Driver& driver, CUstream stream) {
  std::vector<Move> moves;
  RAPT_RETURN_IF_ERROR(list_moves(job, driver, stream, &moves));
  const PageWalk walk = walk_of(job);
  const auto bytes = static_cast<std::size_t>(walk.run_bytes);
  Status status;
  for (const Move& move : moves) {
    for_each_run(job, walk, move_of(job, walk, move.source, move.target), [&](const PageMove& run) {
      if (status.ok()) status = driver.copy(run.to, run.from, bytes, stream);
    });
  }
  return status;
}

Status move_pages(const PageJob& job, const Target& target) {
  if (job.count == 0 || page_bytes(job, walk_of(job)) == 0) return {};
  const DeviceScope scope(job.device_index, target);
  RAPT_RETURN_IF_ERROR(scope.status());
  if (job.from_kind != job.to_kind) return swap_with_host(job, scope.driver(), scope.stream());
  return launch_moves(job, scope, target);
}

// common: pages of one run in accesses of 16 bytes; all: everything there is.
void add_move_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys) {
  for (const int unit : {16, 8, 4, 2, 1}) {
    for (const int strided : {0, 1}) {
      if (preset != Preset::all && (unit != 16 || strided != 0)) continue;
      for (const int clear : {0, 1}) {
        keys.push_back(
            kernel_key(move_family(),
                       MoveConfig{.unit_bytes = unit, .clear = clear, .strided = strided}, arch));
      }
    }
  }
}

}  // namespace rapt::cuda
