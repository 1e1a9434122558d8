// SPDX-License-Identifier: Apache-2.0 OR MIT
// The backward's configurations that are compiled ahead, made from gradients as a call would.
#include "backend/cuda/ahead_problems.h"
#include "backend/cuda/backward_configs.h"
#include "backend/cuda/forward_configs.h"

namespace rapt::cuda {
namespace {

using kernels::BackwardConfig;
using kernels::RowsPart;

float given = 0;

// A feature, with the gradient that belongs to it.
struct Feature {
  void (*add)(Problem&);
  float* Gradient::* asked = nullptr;

  void operator()(Gradient& g) const {
    add(g.forward);
    if (asked != nullptr) g.*asked = &given;
  }
};

const Feature kFeatures[] = {{make_causal},
                             {add_softcap},
                             {add_alibi, &Gradient::d_slopes},
                             {add_bias, &Gradient::d_bias},
                             {add_dropout}};

Gradient gradient_of(DType dtype, int head_dim) {
  Gradient g;
  g.forward = plain_problem(dtype, head_dim, 4096);
  return g;
}

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
    make_causal(g.forward);
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
