// SPDX-License-Identifier: Apache-2.0 OR MIT
// The backward's configurations that are compiled ahead, made from gradients as a call would.
#include <functional>

#include "backend/cuda/backward_configs.h"
#include "backend/cuda/forward_configs.h"

namespace rapt::cuda {
namespace {

using kernels::BackwardConfig;
using kernels::RowsPart;

Gradient gradient_of(DType dtype, int head_dim) {
  Gradient g;
  Problem& p = g.forward;
  p.batch = 1;
  p.q_len = p.kv_len = 4096;
  p.q_heads = p.kv_heads = 8;
  p.head_dim = p.value_dim = head_dim;
  p.dtype = p.kv_dtype = p.out_dtype = dtype;
  p.scale = 1;
  return g;
}

void make_causal(Gradient& g) { g.forward.mask_right = 0; }

// Pointers only say that a feature is on.
float given = 0;

const std::function<void(Gradient&)> kFeatures[] = {
    make_causal,
    [](Gradient& g) { g.forward.softcap = 1; },
    [](Gradient& g) {
      g.forward.alibi = &given;
      g.d_slopes = &given;
    },
    [](Gradient& g) {
      g.forward.bias = &given;
      g.forward.bias_dtype = g.forward.dtype;
      g.d_bias = &given;
    },
    [](Gradient& g) { g.forward.dropout_keep = 230; },
};

class List {
 public:
  List(BackwardKind kind, Arch arch, std::vector<KernelKey>& keys)
      : kind_(kind), arch_(arch), keys_(keys) {}

  void add(const Gradient& g, int aligned = 1) {
    BackwardConfig config;
    if (!configure_backward(kind_, g, limits_of(arch_), &config)) return;
    config.aligned = aligned;
    push(backward_family(kind_), config);
    if (g.d_bias != nullptr && kind_ != BackwardKind::atomic) {
      push(backward_family(kind_), bias_config(config));
    }
    for (const RowsPart part :
         {RowsPart::prepare, RowsPart::clear, RowsPart::finish, RowsPart::heads}) {
      push(backward_rows_family(), rows_config(kind_, config, part));
    }
  }

 private:
  template <class Config>
  void push(const KernelFamily& family, const Config& config) {
    add_key(family, config, arch_, keys_);
  }

  BackwardKind kind_;
  Arch arch_;
  std::vector<KernelKey>& keys_;
};

void add_common(List& list, DType dtype) {
  for (const int head_dim : {64, 128}) {
    Gradient g = gradient_of(dtype, head_dim);
    list.add(g);
    make_causal(g);
    list.add(g);
  }
}

void add_all(List& list, DType dtype) {
  for (const int head_dim : {64, 96, 128, 192, 256, 512}) {
    const Gradient plain = gradient_of(dtype, head_dim);
    Gradient all = plain;
    list.add(plain);
    list.add(plain, 0);
    for (const auto& feature : kFeatures) {
      Gradient g = plain;
      feature(g);
      list.add(g);
      feature(all);
    }
    list.add(all);
  }
}

}  // namespace

void add_backward_kernels(Preset preset, Arch arch, std::vector<KernelKey>& keys) {
  const auto add = preset == Preset::all ? add_all : add_common;
  const bool tensor_cores = arch.number >= 80;
  List halves(tensor_cores ? BackwardKind::portable : BackwardKind::fma, arch, keys);
  List atomic(BackwardKind::atomic, arch, keys), floats(BackwardKind::fma, arch, keys);
  for (const DType dtype : {DType::bf16, DType::fp16}) {
    add(halves, dtype);
    if (tensor_cores && preset == Preset::all) add(atomic, dtype);
  }
  add(floats, DType::fp32);
}

}  // namespace rapt::cuda
