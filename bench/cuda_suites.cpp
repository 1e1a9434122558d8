// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the CUDA suites measure. Sizes are those of the field's own benchmarks: 16,384 tokens in
// all, heads of 2048 elements together.
#include "bench/cuda_suites.h"

namespace rapt::bench {
namespace {

constexpr int kTokens = 16384;
constexpr int kHidden = 2048;

std::string number(int n) { return std::to_string(n); }

// "dtype=bf16 batch=4 q_len=4096 q_heads=16 head_dim=128".
std::string dense(const std::string& dtype, int head_dim, int length) {
  return "dtype=" + dtype + " batch=" + number(kTokens / length) + " q_len=" + number(length) +
         " q_heads=" + number(kHidden / head_dim) + " head_dim=" + number(head_dim);
}

void add_masks(Suite& suite, const std::string& dtype, int head_dim, int length) {
  for (const char* mask : {"full", "causal"}) {
    const std::string label = dtype + " D" + number(head_dim) + " S" + number(length) + " " + mask;
    suite.entries.push_back({label, dense(dtype, head_dim, length) + " mask=" + mask});
  }
}

Suite forward() {
  Suite suite{"cuda-forward",
              "Forward: share of the tensor cores' peak",
              "bf16 and fp16, D 64 to 256, S 1024 to 16,384, full and causal",
              Bound::compute,
              Chart::share,
              {},
              "cuda"};
  for (const char* dtype : {"bf16", "fp16"}) {
    for (const int head_dim : {64, 128, 256}) {
      for (const int length : {1024, 4096, 16384}) add_masks(suite, dtype, head_dim, length);
    }
  }
  return suite;
}

Suite fp32() {
  Suite suite{"cuda-fp32",
              "FP32 forward: share of the FP32 peak",
              "fp32, D64 and D128, S4096, full and causal",
              Bound::compute,
              Chart::share,
              {},
              "cuda"};
  for (const int head_dim : {64, 128}) add_masks(suite, "fp32", head_dim, 4096);
  return suite;
}

Suite decode() {
  Suite suite{"cuda-decode",
              "Decoding: share of the memory's read bandwidth",
              "one query a sequence, bf16 cache, 32/8 heads D128, page 64, each call alone",
              Bound::read,
              Chart::share,
              {},
              "cuda"};
  const std::string model =
      "dtype=bf16 q_len=1 q_heads=32 kv_heads=8 head_dim=128 page_size=64 batch=";
  const auto add = [&](int batch, int context) {
    suite.entries.push_back({"batch " + number(batch) + ", context " + number(context),
                             model + number(batch) + " kv_len=" + number(context)});
    suite.entries.back().alone = true;
  };
  for (const int batch : {1, 4, 16}) {
    for (const int context : {512, 2048, 8192, 32768}) add(batch, context);
  }
  for (const int context : {512, 2048}) add(64, context);
  return suite;
}

Suite features() {
  const std::string plain = dense("bf16", 128, 4096) + " mask=causal";
  const std::string lengths = " batch=5 q_len=4096 q_heads=16 head_dim=128 mask=causal";
  const std::string uneven = "4096,4096,4096,2304,1792";
  Suite suite{"cuda-features",
              "What a feature costs",
              "each feature against plain causal attention, bf16 D128 S4096",
              Bound::compute,
              Chart::relative,
              {{"plain bf16 D128 causal", plain},
               {"full", dense("bf16", 128, 4096)},
               {"GQA, 4 heads on 1", plain + " kv_heads=4"},
               {"ragged", "dtype=bf16" + lengths + " q=ragged kv=ragged q_lens=" + uneven +
                              " kv_lens=" + uneven},
               {"ALiBi", plain + " alibi=head"},
               {"learned sinks", plain + " sinks=1"},
               {"window of 1024", dense("bf16", 128, 4096) + " left=1023 right=0"},
               {"bias, one for all heads", plain + " bias=bf16 bias_dims=q"},
               {"dropout 0.1", plain + " dropout=0.1"},
               {"softcap 30", plain + " softcap=30"},
               {"paged 64, page-head-dim", plain + " page_size=64"},
               {"paged 64, head-page-dim", plain + " page_size=64 layout=head_page_dim"},
               {"paged 64, head-dim-page", plain + " page_size=64 layout=head_dim_page"},
               {"paged 64, x-packed", plain + " page_size=64 layout=x_packed"},
               {"paged 16, page-head-dim", plain + " page_size=16"},
               {"fp16", dense("fp16", 128, 4096) + " mask=causal"}},
              "cuda"};
  for (std::size_t i = 1; i < suite.entries.size(); ++i) suite.entries[i].peer = 0;
  return suite;
}

}  // namespace

std::vector<Suite> cuda_suites() { return {forward(), fp32(), decode(), features()}; }

}  // namespace rapt::bench
