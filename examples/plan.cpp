// SPDX-License-Identifier: Apache-2.0 OR MIT
// A plan for a model's layers: the work is divided once for the largest batch, each step's lengths
// are uploaded once, and every layer's run then allocates nothing.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <rapt/rapt.hpp>
#include <span>
#include <vector>

namespace {

constexpr std::int64_t kBatch = 4, kLen = 256, kHeads = 8, kDim = 64;
constexpr int kLayers = 3, kSteps = 2;

struct Layer {
  std::vector<float> q, k, v, out;
  explicit Layer(float value)
      : q(kBatch * kLen * kHeads * kDim, 0.5f), k(q), v(q.size(), value), out(q.size()) {}

  // rapt::Attention has one field for everything; what is left out is off.
  rapt::Attention problem() {
    const rapt::Shape shape = {kBatch, kLen, kHeads, kDim};
    return {.q = {q.data(), shape},
            .k = {k.data(), shape},
            .v = {v.data(), shape},
            .out = {out.data(), shape},
            .mask = rapt::Mask::sliding(64)};
  }
};

bool ok(const rapt::Status& status) {
  if (!status) std::fprintf(stderr, "%s\n", status.message().c_str());
  return status.ok();
}

int run() {
  std::vector<Layer> layers;
  for (int i = 0; i < kLayers; ++i) layers.emplace_back(static_cast<float>(i + 1));
  rapt::Plan plan;
  if (!ok(plan.create(layers.front().problem()))) return 1;
  // A workspace begins on a multiple of 64 bytes.
  std::vector<std::byte> buffer(plan.workspace_bytes() + 64);
  std::size_t space = buffer.size();
  void* memory = buffer.data();
  std::align(64, plan.workspace_bytes(), memory, space);
  const std::span workspace(static_cast<std::byte*>(memory), plan.workspace_bytes());
  for (int step = 0; step < kSteps; ++step) {
    if (!ok(plan.upload({}, workspace))) return 1;
    for (Layer& layer : layers) {
      if (!ok(plan.run(layer.problem(), workspace))) return 1;
    }
  }
  std::printf("%s:", std::string(plan.kernel()).c_str());
  for (const Layer& layer : layers) std::printf(" %g", layer.out.back());
  std::puts("");
  return 0;
}

}  // namespace

int main() { return run(); }
