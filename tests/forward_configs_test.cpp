// SPDX-License-Identifier: Apache-2.0 OR MIT
// What is compiled ahead holds what calls ask for.
#include "backend/cuda/forward_configs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/cuda/hopper.h"

namespace rapt::cuda {
namespace {

constexpr Arch kHopper = {90, 1};

class Ahead : public testing::Test {
 protected:
  Ahead() { add_forward_kernels(Preset::all, kHopper, keys_); }

  [[nodiscard]] bool holds(ForwardKind kind, const Problem& p) const {
    kernels::ForwardConfig config;
    EXPECT_TRUE(configure_forward(kind, p, p.q_len, limits_of(kHopper), &config));
    const KernelKey key = kernel_key(forward_family(kind), config, kHopper);
    return std::find(keys_.begin(), keys_.end(), key) != keys_.end();
  }

  static Problem problem_of(int rows, int dim) {
    Problem p;
    p.batch = 3;
    p.q_len = rows;
    p.kv_len = 5000;
    p.q_heads = p.kv_heads = 2;
    p.head_dim = p.value_dim = dim;
    p.dtype = p.kv_dtype = p.out_dtype = DType::bf16;
    p.scale = 1;
    return p;
  }

 private:
  std::vector<KernelKey> keys_;
};

// Whatever tile the number of rows asks for, without a mask, with a causal one and with a window.
TEST_F(Ahead, HoldsEveryTile) {
  for (const int rows : {1, 16, 17, 33, 64, 65, 128, 129, 1000, 1024, 1025, 70000}) {
    for (const int dim : {40, 64, 80, 128, 160, 256, 300}) {
      Problem p = problem_of(rows, dim);
      for (int masks = 0; masks < 3; ++masks) {
        if (masks > 0) p.mask_right = 0;
        if (masks > 1) p.mask_left = 511;
        EXPECT_TRUE(holds(ForwardKind::portable, p)) << rows << " x " << dim << ", " << masks;
        if (!suits_hopper(p)) continue;
        EXPECT_TRUE(holds(ForwardKind::hopper, p)) << rows << " x " << dim << ", " << masks;
      }
    }
  }
}

}  // namespace
}  // namespace rapt::cuda
