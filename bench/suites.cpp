// SPDX-License-Identifier: Apache-2.0 OR MIT
// What each suite measures. Batch and heads are few, so that every answer can be checked in full.
#include "bench/suites.h"

#include <algorithm>
#include <thread>

#include "bench/cuda_suites.h"
#include "bench/measure.h"

namespace rapt::bench {
namespace {

Suite cpu_peak() {
  Suite suite{"cpu-peak",
              "Share of the processor's peak",
              "FP32 and BF16, D64 and D128, S4096, full and causal",
              Bound::compute,
              Chart::share,
              {}};
  for (const char* dtype : {"FP32", "BF16"}) {
    for (const char* dim : {"64", "128"}) {
      for (const char* mask : {"full", "causal"}) {
        const std::string label = std::string(dtype) + " D" + dim + " " + mask;
        const std::string type = dtype == std::string("FP32") ? "fp32" : "bf16";
        suite.entries.push_back(
            {label, "dtype=" + type + " q_len=4096 head_dim=" + dim + " mask=" + mask});
      }
    }
  }
  return suite;
}

Suite cpu_backward() {
  Suite suite{"cpu-backward",
              "Backward: share of the processor's peak",
              "FP32 and BF16, D64 and D128, S2048, full and causal, one thread",
              Bound::compute,
              Chart::share,
              {}};
  for (const char* dtype : {"fp32", "bf16"}) {
    for (const char* dim : {"64", "128"}) {
      for (const char* mask : {"full", "causal"}) {
        const std::string name = dtype == std::string("fp32") ? "FP32" : "BF16";
        suite.entries.push_back({name + " D" + dim + " " + mask,
                                 "direction=backward dtype=" + std::string(dtype) +
                                     " q_len=2048 head_dim=" + dim + " mask=" + mask,
                                 1});
      }
    }
  }
  return suite;
}

Suite cpu_back_memory() {
  return {"cpu-back-memory",
          "Training on a long sequence in little memory",
          "one FP32 head, D64, 131,072 tokens: backward's time, memory of both passes",
          Bound::compute,
          Chart::share,
          {{"FP32 D64 full, 131,072 tokens", "direction=backward q_len=131072"}}};
}

// Every row has D128 and 4096 tokens a sequence unless it says otherwise.
std::vector<Entry> feature_entries() {
  const std::string plain = "q_len=4096 q_heads=2 head_dim=128";
  const std::string lengths = "q_len=4096 head_dim=128 q_lens=4096,3072 kv_lens=4096,3072";
  const std::string paged = plain + " page_size=64 layout=";
  std::vector<Entry> entries = {
      {"plain FP32 D128", plain},
      {"causal", plain + " mask=causal"},
      {"GQA, 2 heads on 1", plain + " kv_heads=1"},
      {"ragged", lengths + " q=ragged kv=ragged"},
      {"ALiBi", plain + " alibi=head"},
      {"learned sinks", plain + " sinks=1"},
      {"window of 1024", plain + " left=1023 right=0"},
      {"bias, one a head", plain + " bias=fp32 bias_dims=hq"},
      {"dropout 0.1", plain + " dropout=0.1"},
      {"softcap 30", plain + " softcap=30"},
      {"paged, page-head-dim", paged + "page_head_dim"},
      {"paged, head-page-dim", paged + "head_page_dim"},
      {"paged, head-dim-page", paged + "head_dim_page"},
      {"paged, x-packed", paged + "x_packed"},
      {"FP16", "dtype=fp16 " + plain},
  };
  for (const char* dim : {"80", "96", "256", "512"}) {
    entries.push_back(
        {"D" + std::string(dim), "q_len=4096 q_heads=2 head_dim=" + std::string(dim)});
  }
  for (std::size_t i = 1; i < entries.size(); ++i) entries[i].peer = 0;
  return entries;
}

Suite cpu_features() {
  return {"cpu-features",
          "What a feature costs",
          "each feature against plain attention, D128 S4096: rate a visible score",
          Bound::compute,
          Chart::relative,
          feature_entries()};
}

Suite cpu_decode() {
  const std::string model = "dtype=bf16 q_len=1 q_heads=32 kv_heads=8 head_dim=128 ";
  return {"cpu-decode",
          "Decoding: share of the memory's read bandwidth",
          "one query a sequence, BF16 cache, 32/8 heads D128, contexts 8192 and 32768",
          Bound::read,
          Chart::share,
          {{"batch 8, context 8192", model + "batch=8 kv_len=8192"},
           {"batch 1, context 32768", model + "kv_len=32768"},
           {"batch 8, context 8192, paged", model + "batch=8 kv_len=8192 page_size=64"},
           {"batch 1, context 32768, paged", model + "kv_len=32768 page_size=64"}}};
}

Suite cpu_memory() {
  return {"cpu-memory",
          "A long sequence in little memory",
          "one FP32 head, D64, 131,072 queries and keys: time, and memory beyond the tensors",
          Bound::compute,
          Chart::share,
          {{"FP32 D64 full, 131,072 tokens", "q_len=131072"}}};
}

Suite cpu_lengths() {
  Suite suite{"cpu-lengths",
              "Exact attention over growing lengths",
              "FP32 D64, 512 to 16,384 tokens, against a plain softmax(QK^T)V: time and memory",
              Bound::compute,
              Chart::growth,
              {}};
  for (int length = 512; length <= 16384; length *= 2) {
    const std::string text = "q_len=" + std::to_string(length);
    const int plain = static_cast<int>(suite.entries.size());
    suite.entries.push_back({"plain, " + std::to_string(length), text, 0, -1, true});
    suite.entries.push_back({"rapt, " + std::to_string(length), text, 0, plain, false});
  }
  return suite;
}

Suite cpu_threads() {
  Suite suite{"cpu-threads",
              "One thread and all of them",
              "S4096 on one thread, and on every CPU of this process",
              Bound::compute,
              Chart::share,
              {}};
  for (const char* dtype : {"fp32", "bf16"}) {
    for (const char* mask : {"full", "causal"}) {
      const std::string text =
          "dtype=" + std::string(dtype) + " q_len=4096 head_dim=128 mask=" + mask;
      const std::string label =
          std::string(dtype == std::string("fp32") ? "FP32" : "BF16") + " D128 " + mask;
      const int one = static_cast<int>(suite.entries.size());
      suite.entries.push_back({label + ", 1 thread", text, 1});
      suite.entries.push_back({label + ", all threads", text, 0, one});
    }
  }
  return suite;
}

}  // namespace

const std::vector<Suite>& suites() {
  static const std::vector<Suite> all = [] {
    std::vector<Suite> list = {cpu_peak(),    cpu_features(), cpu_decode(),   cpu_memory(),
                               cpu_lengths(), cpu_threads(),  cpu_backward(), cpu_back_memory()};
    for (const Suite& suite : cuda_suites()) list.push_back(suite);
    return list;
  }();
  return all;
}

const Suite* find_suite(const std::string& name) {
  const auto found = std::find_if(suites().begin(), suites().end(),
                                  [&](const Suite& suite) { return suite.name == name; });
  return found == suites().end() ? nullptr : &*found;
}

Suite suite_of_case(const std::string& text) {
  return {"case", text, "", Bound::compute, Chart::share, {{text, text}}};
}

}  // namespace rapt::bench
