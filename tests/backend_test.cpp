// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every named case on every kernel that this machine can run, judged by the oracle, planned and
// direct; and the promise of the same bits from run to run, for any number of threads and on a
// caller's threads.
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "kit/attempt.h"
#include "kit/cases.h"
#include "kit/kernels.h"
#include "kit/workload.h"

namespace rapt::kit {
namespace {

class Backend : public testing::TestWithParam<std::string> {};

TEST_P(Backend, ComputesEveryNamedCase) {
  const rapt_options options = force(GetParam());
  for (const NamedCase& named : named_cases()) {
    const Attempt result = attempt(case_of(named.text), options);
    EXPECT_TRUE(result.verdict.passed) << named.name << ": " << result.verdict.sentence
                                       << "\n  rapt verify --case \"" << named.text << '"';
  }
}

std::string bits(const Case& c, const rapt_options& options) {
  Workload workload(c);
  EXPECT_EQ(rapt_attend(&workload.attention(), &options), RAPT_OK) << rapt_error_message();
  return workload.output_bytes();
}

// A caller's own threads, which take the work from its end.
void on_my_threads(void*, std::int64_t count, void (*body)(void*, std::int64_t), void* context) {
  std::vector<std::thread> threads;
  for (std::int64_t worker = 0; worker < 2; ++worker) {
    threads.emplace_back([=] {
      for (std::int64_t n = count - 1 - worker; n >= 0; n -= 2) body(context, n);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_P(Backend, GivesTheSameBitsHoweverItIsRun) {
  for (const char* text :
       {"dtype=bf16 q_len=1 kv_len=3000 q_heads=8 kv_heads=2",
        "batch=2 q_len=70 kv_len=300 q_heads=4 kv_heads=2 mask=causal dropout=0.1",
        "q=ragged page_size=16 q_lens=3,70,1 kv_lens=900,70,1 sinks=1 dtype=fp16"}) {
    const Case c = case_of(text);
    rapt_options options = force(GetParam());
    options.threads = 1;
    const std::string once = bits(c, options);
    EXPECT_TRUE(bits(c, options) == once) << text << ", run again";
    for (const std::int32_t threads : {2, 3, 7}) {
      options.threads = threads;
      EXPECT_TRUE(bits(c, options) == once) << text << ", threads " << threads;
    }
    options.threads = 0;
    options.parallel_for = on_my_threads;
    EXPECT_TRUE(bits(c, options) == once) << text << ", on the caller's threads";
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  for (char& letter : name) letter = letter == '/' ? '_' : letter;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Kernels, Backend, testing::ValuesIn(runnable_kernels()), test_name);

TEST(Backends, AtLeastOneKernelRunsHere) { EXPECT_FALSE(runnable_kernels().empty()); }

}  // namespace
}  // namespace rapt::kit
