// SPDX-License-Identifier: Apache-2.0 OR MIT
// append: which configuration serves a job, what it is launched with.
#include "backend/cuda/cache.h"

#include <string>

#include "backend/cuda/config_text.h"
#include "backend/cuda/launch.h"
#include "backend/cuda/views.h"

namespace rapt::cuda {
namespace {

using kernels::AppendConfig;
using kernels::AppendParams;
using kernels::Element;
using kernels::RopeKind;

constexpr int kOneRun = 30;  // log2 of more elements than a head has
constexpr std::int64_t kMostHeads = std::int64_t{1} << 22;

std::string words(const void* bytes) { return config_words(config_of<AppendConfig>(bytes)); }

// Room for 64 registers: left to itself, ptxas spills at 40.
std::string instantiate(const void* bytes) {
  return "using namespace rapt::kernels;\n" +
         config_constant("AppendConfig", config_of<AppendConfig>(bytes)) +
         "extern \"C\" __global__ void __launch_bounds__(kAppendThreads, 8)\n"
         "rapt_append(const __grid_constant__ AppendParams p) { Append<kConfig>::run(p); }\n";
}

const KernelFamily& append_family() {
  static constexpr KernelFamily kFamily = {"cuda/append", "append.cuh", "rapt_append",
                                           words,         instantiate,  no_shared_bytes};
  return kFamily;
}

RopeKind rope_kind(const RopeTables& rope) {
  if (rope.rotary_dim == 0) return RopeKind::none;
  return rope.interleaved ? RopeKind::interleaved : RopeKind::split;
}

// Whether a head in a page is contiguous as far as one access goes; else it is written element by
// element, wherever it lies.
bool in_runs(const PagedRows& pages, std::int64_t width) {
  return pages.x >= width || (pages.x == 1 && pages.dim_stride == 1);
}

bool pages_aligned(const PagedRows& pages, std::int64_t width, std::int64_t bytes) {
  if (!in_runs(pages, width)) return true;
  return on_boundary(static_cast<std::uintptr_t>(width * bytes), pages.data, bytes,
                     {pages.page_stride, pages.token_stride, pages.head_stride,
                      pages.x > 1 ? pages.dim_stride : 0});
}

bool rows_aligned(const Rows& rows, std::int64_t width, std::int64_t bytes) {
  return on_boundary(static_cast<std::uintptr_t>(width * bytes), rows.data, bytes,
                     {rows.token_stride, rows.head_stride});
}

// Whole accesses must also end where what rope turns ends.
bool rope_fits(const RopeTables& rope, std::int64_t width) {
  const std::int64_t turned = rope.interleaved ? rope.rotary_dim : rope.rotary_dim / 2;
  return turned % width == 0;
}

bool all_aligned(const AppendJob& job, std::int64_t width) {
  const std::int64_t bytes = bytes_of(job.dtype);
  if (!rope_fits(job.rope, width)) return false;
  if (!rows_aligned(job.k.from, width, bytes) || !rows_aligned(job.v.from, width, bytes)) {
    return false;
  }
  if (job.q.heads > 0 &&
      !(rows_aligned(job.q.from, width, bytes) && rows_aligned(job.q_out, width, bytes))) {
    return false;
  }
  return pages_aligned(job.k_pages, width, bytes) && pages_aligned(job.v_pages, width, bytes);
}

kernels::AppendSide side_from(const AppendSide& side) {
  kernels::AppendSide s = {};
  s.from = side.from.data;
  s.from_token_stride = side.from.token_stride;
  s.from_head_stride = side.from.head_stride;
  s.heads = side.heads;
  s.run_shift = kOneRun;
  return s;
}

void set_target(const PagedRows& pages, kernels::AppendSide& s) {
  s.to = pages.data;
  s.to_page_stride = pages.page_stride;
  s.to_token_stride = pages.token_stride;
  s.to_head_stride = pages.head_stride;
  s.paged = 1;
  if (pages.x == 1 && pages.dim_stride == 1) return;
  s.run_shift = __builtin_ctzll(static_cast<unsigned long long>(pages.x));
  s.run_stride = pages.dim_stride;
}

void set_target(const Rows& rows, kernels::AppendSide& s) {
  s.to = rows.data;
  s.to_token_stride = rows.token_stride;
  s.to_head_stride = rows.head_stride;
}

// A head's accesses: turned pairs of them or, interleaved, turned ones, then copied ones.
void set_units(std::int64_t dim, const RopeTables& rope, int width, kernels::AppendSide& s) {
  const auto turned = static_cast<int>(rope.rotary_dim);
  s.turned_units = (rope.interleaved ? turned : turned / 2) / width;
  s.copied_units = (static_cast<int>(dim) - turned) / width;
  s.copied_from = turned;
}

void set_rope(const RopeTables& rope, AppendParams& p) {
  p.pairs = static_cast<int>(rope.rotary_dim / 2);
  p.cos = rope.cos;
  p.sin = rope.sin;
  p.cos_stride = rope.cos_stride;
  p.sin_stride = rope.sin_stride;
  p.table_rows = rope.table_rows;
  p.positions = param(rope.positions);
}

// The elements of one token are counted in 32 bits.
Status check_heads(const std::string& field, std::int64_t heads) {
  if (heads <= kMostHeads) return {};
  return unsupported(field + " is " + std::to_string(heads) + ", this kernel takes 2^22");
}

}  // namespace

AppendConfig append_config(const AppendJob& job) {
  AppendConfig config;
  config.bytes = static_cast<int>(bytes_of(job.dtype));
  config.rope = rope_kind(job.rope);
  if (config.rope != RopeKind::none) config.element = element_of(job.dtype);
  config.aligned = all_aligned(job, append_width(config)) ? 1 : 0;
  return config;
}

AppendParams append_params(const AppendJob& job, const AppendConfig& config) {
  const int width = append_width(config);
  AppendParams p = {};
  auto& [k, v, q] = p.sides;
  k = side_from(job.k);
  v = side_from(job.v);
  q = side_from(job.q);
  set_target(job.k_pages, k);
  set_target(job.v_pages, v);
  set_target(job.q_out, q);
  set_units(job.k.dim, job.rope, width, k);
  set_units(job.v.dim, {}, width, v);
  set_units(job.q.dim, job.rope, width, q);
  p.tokens = job.tokens;
  p.slots = static_cast<const long long*>(job.slots.data);
  p.slots_stride = job.slots.stride;
  p.pages = job.pages;
  p.page_shift = __builtin_ctzll(static_cast<unsigned long long>(job.page_size));
  set_rope(job.rope, p);
  return p;
}

Status append(const AppendJob& job, const Target& target) {
  const AppendConfig config = append_config(job);
  if (config.bytes == 1 && config.rope != RopeKind::none) {
    return unsupported("rope: the cache has 8-bit elements, rope takes fp32, fp16 or bf16");
  }
  if (job.tokens == 0) return {};
  RAPT_RETURN_IF_ERROR(check_heads("k: kv_heads", job.k.heads));
  RAPT_RETURN_IF_ERROR(check_heads("q: q_heads", job.q.heads));
  const DeviceScope scope(job.device_index, target);
  RAPT_RETURN_IF_ERROR(scope.status());
  const LoadedKernel* kernel = nullptr;
  RAPT_RETURN_IF_ERROR(scope.find(append_family(), config, &kernel));
  AppendParams params = append_params(job, config);
  const unsigned sides = job.q.heads > 0 ? 3 : 2;
  return launch(*kernel, {grid_x(job.tokens), sides}, kernels::kAppendThreads, params, target);
}

// common: no rope and both kinds of it, 16-bit elements, aligned; all: everything there is.
void add_append_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys) {
  const auto add = [&](const AppendConfig& config) {
    keys.push_back(kernel_key(append_family(), config, arch));
  };
  const bool all = preset == Preset::all;
  for (const int aligned : {1, 0}) {
    if (aligned == 0 && !all) break;
    for (const int bytes : {2, 4, 1}) {
      if (bytes == 2 || all) add({.bytes = bytes, .aligned = aligned});
    }
    for (const RopeKind rope : {RopeKind::split, RopeKind::interleaved}) {
      add({.element = Element::bf16, .rope = rope, .aligned = aligned});
      add({.element = Element::fp16, .rope = rope, .aligned = aligned});
      if (all) add({.bytes = 4, .element = Element::fp32, .rope = rope, .aligned = aligned});
    }
  }
}

}  // namespace rapt::cuda
