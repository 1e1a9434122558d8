// SPDX-License-Identifier: Apache-2.0 OR MIT
// Attention through the C interface gives the same bits on every number of threads, on a caller's
// threads, from many callers at once and in a fork's child.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kit/workload.h"
#include "rapt/rapt.h"

#if defined(__SANITIZE_THREAD__)
constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
#else
constexpr bool kThreadSanitizer = false;
#endif

namespace rapt {
namespace {

// Many tiles; splits over keys; ragged, paged and masked work; and less work than there are
// threads.
const char* const kCases[] = {
    "q_len=300 q_heads=4 kv_heads=2 mask=causal",
    "dtype=bf16 batch=2 q_len=1 kv_len=3000 q_heads=8 kv_heads=2 head_dim=128",
    "dtype=fp16 q_len=3 kv_len=5000 q_heads=2 kv_heads=1 page_size=16 sinks=1",
    "batch=4 q_len=200 q=ragged kv=ragged q_lens=200,0,7,64 kv_lens=200,9,130,64 dropout=0.2",
    "q_len=1 kv_len=5",
};

std::unique_ptr<kit::Workload> workload_of(const std::string& text) {
  kit::Case spec;
  EXPECT_EQ(kit::parse_case(text, spec), "");
  return std::make_unique<kit::Workload>(spec);
}

// The bits of out and lse.
std::string attend(kit::Workload& workload, const rapt_options& options) {
  workload.poison_outputs();
  EXPECT_EQ(rapt_attend(&workload.attention(), &options), RAPT_OK) << rapt_error_message();
  return workload.output_bytes();
}

std::string attend(kit::Workload& workload, std::int32_t threads) {
  rapt_options options = {};
  options.struct_size = sizeof options;
  options.threads = threads;
  return attend(workload, options);
}

class Threads : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<kit::Workload> workload_ = workload_of(GetParam());
  const std::string alone_ = attend(*workload_, 1);
};

TEST_P(Threads, EveryNumberGivesTheSameBits) {
  for (const std::int32_t threads : {2, 3, 7, 0}) {
    for (int round = 0; round < 3; ++round) {
      EXPECT_TRUE(attend(*workload_, threads) == alone_) << threads;
    }
  }
  EXPECT_TRUE(kit::check(*workload_).passed) << kit::check(*workload_).sentence;
}

TEST_P(Threads, TheCallersThreadsGiveTheSameBits) {
  rapt_options options = {};
  options.struct_size = sizeof options;
  options.threads = 3;
  options.parallel_for = [](void*, std::int64_t count, void (*body)(void*, std::int64_t),
                            void* context) {
    std::vector<std::thread> threads;
    for (std::int64_t i = 0; i < count; ++i) threads.emplace_back(body, context, i);
    for (std::thread& thread : threads) thread.join();
  };
  EXPECT_TRUE(attend(*workload_, options) == alone_);
}

TEST_P(Threads, ConcurrentCallersGetTheSameBits) {
  std::vector<std::thread> callers;
  std::vector<std::string> answers(4);
  for (std::string& answer : answers) {
    callers.emplace_back([&answer] {
      const auto own = workload_of(GetParam());
      for (int round = 0; round < 5; ++round) answer = attend(*own, 3);
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::string& answer : answers) EXPECT_TRUE(answer == alone_);
}

TEST_P(Threads, AForksChildGetsTheSameBits) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer allows no threads in a fork's child";
  attend(*workload_, 3);  // the parent has its threads
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(attend(*workload_, 3) == alone_ ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

INSTANTIATE_TEST_SUITE_P(Cases, Threads, testing::ValuesIn(kCases));

}  // namespace
}  // namespace rapt
