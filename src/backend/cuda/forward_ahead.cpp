// SPDX-License-Identifier: Apache-2.0 OR MIT
// The forward configurations that are compiled ahead, made from problems as a call would.
#include "backend/cuda/ahead_problems.h"
#include "backend/cuda/forward_configs.h"
#include "backend/cuda/hopper.h"
#include "backend/cuda/views.h"

namespace rapt::cuda {
namespace {

using kernels::ForwardConfig;

// Numbers of query rows: of each shape of tile (forward_configs.cpp) the most that it is taken for.
constexpr int kDecodeRows = 16, kLongRows = 4096;
constexpr int kRows[] = {kDecodeRows, 32, 64, 128, 1024, kLongRows};

void page(Problem& p) { p.page_size = 64; }
void page_single_tokens(Problem& p) { p.page_size = 1; }
void page_x_packed(Problem& p) {
  page(p);
  p.page_layout = RAPT_X_PACKED;
}

void (*const kFeatures[])(Problem&) = {make_causal,        make_windowed, add_softcap, add_alibi,
                                       add_bias,           add_sinks,     add_dropout, page,
                                       page_single_tokens, page_x_packed};

class List {
 public:
  List(ForwardKind kind, Arch arch, std::vector<KernelKey>& keys)
      : kind_(kind), arch_(arch), keys_(keys) {}

  // Aligned rows, whole and split with its combine.
  void add(const Problem& p) {
    ForwardConfig config;
    if (!configure(p, &config)) return;
    push(forward_family(kind_), config);
    config.split = 1;
    push(forward_family(kind_), config);
    push(combine_family(), combine_config(config));
  }

  void add_unaligned(const Problem& p) {
    ForwardConfig config;
    if (kind_ == ForwardKind::hopper || !configure(p, &config)) return;
    config.aligned = 0;
    push(forward_family(kind_), config);
  }

 private:
  bool configure(const Problem& p, ForwardConfig* config) const {
    if (kind_ == ForwardKind::hopper && (!suits_hopper(p) || turned(p))) return false;
    return configure_forward(kind_, p, p.q_len, limits_of(arch_), config);
  }

  void push(const KernelFamily& family, const ForwardConfig& config) {
    add_key(family, config, arch_, keys_);
  }

  ForwardKind kind_;
  Arch arch_;
  std::vector<KernelKey>& keys_;
};

void add_common(List& list, DType dtype) {
  for (const int head_dim : {64, 128}) {
    for (const int rows : kRows) {
      Problem p = plain_problem(dtype, head_dim, rows);
      if (rows == kDecodeRows) page(p);
      list.add(p);
      make_causal(p);
      list.add(p);
    }
  }
}

// Each feature alone, and all.
void add_features(List& list, const Problem& plain) {
  Problem all = plain;
  list.add(plain);
  list.add_unaligned(plain);
  for (const auto feature : kFeatures) {
    Problem p = plain;
    feature(p);
    list.add(p);
    feature(all);
  }
  list.add(all);
  all.page_layout = plain.page_layout;  // which every kernel takes
  list.add(all);
}

void add_all(List& list, DType dtype) {
  for (const int rows : kRows) {
    for (const int head_dim : {64, 96, 128, 192, 256, 512}) {
      add_features(list, plain_problem(dtype, head_dim, rows));
    }
  }
}

}  // namespace

// Shared memory that a block may have (CUDA C programming guide, "Compute Capabilities").
ForwardLimits limits_of(Arch arch) {
  constexpr std::int32_t kKiB = 1024;
  if (arch.number >= 90 && arch.number < 120) return {227 * kKiB, 132};
  if (arch.number == 80 || arch.number == 87) return {163 * kKiB, 108};
  if (arch.number >= 86) return {99 * kKiB, 84};
  return {(arch.number >= 75 ? 64 : 96) * kKiB, 72};
}

void add_forward_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys) {
  const bool tensor_cores = arch.number >= 80;
  const ForwardKind halves = tensor_cores ? ForwardKind::portable : ForwardKind::fma;
  List hopper_list(ForwardKind::hopper, arch, keys), half_list(halves, arch, keys);
  List float_list(ForwardKind::fma, arch, keys);
  const auto add = preset == Preset::all ? add_all : add_common;
  for (const DType dtype : {DType::bf16, DType::fp16}) {
    if (arch.number == 90) add(hopper_list, dtype);
    add(half_list, dtype);
  }
  add(float_list, DType::fp32);
}

}  // namespace rapt::cuda
