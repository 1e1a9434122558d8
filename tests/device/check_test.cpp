// SPDX-License-Identifier: Apache-2.0 OR MIT
// RAPT_CHECK=1: what a device's indices hold is refused in the words that the CPU has for them, and
// nothing is launched. The variable is read once, so that this runs in a process of its own.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "libcuda.h"
#include "on_stand_in.h"
#include "tensors.h"

namespace rapt::kit {
namespace {

class RaptCheck : public testing::Test {
 protected:
  void SetUp() override {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    setenv("RAPT_CHECK", "1", 1);
  }
  void TearDown() override { unsetenv("RAPT_CHECK"); }
};

struct Answer {
  rapt_status code;
  std::string sentence;

  explicit Answer(rapt_status status) : code(status), sentence(rapt_error_message()) {}
};

template <typename T>
void put(const rapt_tensor& tensor, std::int64_t at, T value) {
  static_cast<T*>(tensor.data)[at * tensor.strides[0]] = value;
}

// A problem, and what is then written into its indices.
struct Spoilt {
  const char* text;
  std::function<void(const rapt_attention&)> spoil;
};

const std::vector<Spoilt>& spoilt() {
  using A = const rapt_attention&;
  static const std::vector<Spoilt> all = {
      {"q=ragged kv=ragged q_lens=3,5 kv_lens=7,2", [](A a) { put(a.ragged->q_offsets, 1, 9); }},
      {"q=ragged kv=ragged q_lens=3,5 kv_lens=7,2", [](A a) { put(a.ragged->kv_offsets, 0, 1); }},
      {"q=ragged kv=ragged q_lens=3,5 kv_lens=7,2", [](A a) { put(a.ragged->kv_offsets, 2, 8); }},
      {"page_size=16 kv_lens=30,33", [](A a) { put(a.pages->table, 1, -1); }},
      {"page_size=16 kv_lens=30,33", [](A a) { put(a.pages->table, 0, 1 << 20); }},
      {"page_size=16 kv_lens=30,33", [](A a) { put(a.lengths->kv_len, 1, 1000); }},
      {"kv_lens=30,33 cache_row=1 left_pad=1", [](A a) { put(a.lengths->cache_row, 1, 99); }},
      {"kv_lens=30,33 cache_row=1 left_pad=1", [](A a) { put(a.lengths->left_pad, 0, 999); }},
      {"kv_lens=30,33 cache_row=1 left_pad=1", [](A a) { put(a.lengths->kv_len, 0, -5); }},
  };
  return all;
}

// Whether a refusal on the device is that of the host, before anything is launched.
bool same_refusal(const char* name, const Answer& host, const Answer& device,
                  std::int64_t launches) {
  const bool same = host.code == RAPT_INVALID_ARGUMENT && device.code == host.code &&
                    device.sentence == host.sentence && launches == stand_in_counts().launches;
  if (!same) {
    std::fprintf(stderr, "%s: host %d %s; device %d %s\n", name, host.code, host.sentence.c_str(),
                 device.code, device.sentence.c_str());
  }
  return same;
}

bool attend_refuses_alike(const Spoilt& spoilt) {
  const Workload host(case_of(spoilt.text));
  const OnStandIn device(spoilt.text);
  spoilt.spoil(host.attention());
  spoilt.spoil(device.attention());
  rapt_options on_cpu = on_cuda(), on_device = on_cuda();
  on_cpu.backend = "cpu";
  const std::int64_t launches = stand_in_counts().launches;
  const Answer of_host(rapt_attend(&host.attention(), &on_cpu));
  const Answer of_device(rapt_attend(&device.attention(), &on_device));
  return same_refusal(spoilt.text, of_host, of_device, launches);
}

[[noreturn]] void end_with(bool passed) { std::_Exit(passed ? 0 : 1); }

TEST_F(RaptCheck, AttendRefusesWhatTheHostRefusesInItsWords) {
  const auto all = [] {
    bool alike = true;
    for (const Spoilt& one : spoilt()) alike = attend_refuses_alike(one) && alike;
    end_with(alike);
  };
  EXPECT_EXIT(all(), testing::ExitedWithCode(0), "");
}

TEST_F(RaptCheck, ARunRefusesToo) {
  const auto run = [] {
    const Spoilt& pages = spoilt()[3];
    const OnStandIn problem(pages.text);
    const Plan plan(problem, on_cuda());
    const bool ran = plan.run(problem, on_cuda()) == RAPT_OK;
    pages.spoil(problem.attention());
    const Answer answer(plan.run(problem, on_cuda()));
    std::fprintf(stderr, "%s\n", answer.sentence.c_str());
    end_with(ran && answer.code == RAPT_INVALID_ARGUMENT);
  };
  EXPECT_EXIT(run(), testing::ExitedWithCode(0),
              "pages.table: sequence 1 entry 0 is -1, the cache has");
}

TEST_F(RaptCheck, TheCacheVerbsRefuseToo) {
  const auto verbs = [] {
    Tensors tensors;
    const rapt_append_args args = append_args(tensors);
    const rapt_tensor pairs = tensors.make(RAPT_INT64, {2, 2});
    const rapt_tensor pages = tensors.make(RAPT_INT64, {2});
    put<std::int64_t>(args.slots, 1, 64);
    put<std::int64_t>(pages, 1, 4);
    bool refused = true;
    const auto expect = [&](rapt_status status, const char* sentence) {
      const bool as_said = status == RAPT_INVALID_ARGUMENT && Answer(status).sentence == sentence;
      if (!as_said) std::fprintf(stderr, "%d %s\n", status, rapt_error_message());
      refused = refused && as_said;
    };
    expect(rapt_append(&args, nullptr), "slots: token 1 is 64; must be -1, or below 64");
    expect(rapt_copy_pages(&args.k_cache, &pairs, nullptr), "pairs: page 0 is written twice");
    expect(rapt_swap_pages(&args.k_cache, &args.v_cache, &pairs, nullptr),
           "pairs: page 0 is written twice");
    expect(rapt_clear_pages(&args.k_cache, &pages, nullptr),
           "pages: entry 1 is 4, there are 4 pages");
    end_with(refused && stand_in_counts().launches == 0);
  };
  EXPECT_EXIT(verbs(), testing::ExitedWithCode(0), "");
}

TEST_F(RaptCheck, WhatIsRightIsTaken) {
  const auto attend = [] {
    bool taken = true;
    for (const Spoilt& one : spoilt()) {
      const OnStandIn problem(one.text);
      const rapt_options options = on_cuda();
      taken = rapt_attend(&problem.attention(), &options) == RAPT_OK && taken;
    }
    end_with(taken && stand_in_counts().launches > 0 && stand_in_counts().waits > 0);
  };
  EXPECT_EXIT(attend(), testing::ExitedWithCode(0), "");
}

TEST_F(RaptCheck, CannotReadUnderCapture) {
  const auto attend = [] {
    const OnStandIn problem(spoilt()[0].text);
    const rapt_options options = on_cuda(stand_in_capturing_stream());
    const Answer answer(rapt_attend(&problem.attention(), &options));
    std::fprintf(stderr, "%s\n", answer.sentence.c_str());
    std::_Exit(answer.code);
  };
  EXPECT_EXIT(attend(), testing::ExitedWithCode(RAPT_UNSUPPORTED),
              "RAPT_CHECK: is 1 and a graph is being captured");
}

TEST_F(RaptCheck, IsZeroOrOne) {
  setenv("RAPT_CHECK", "yes", 1);
  const auto attend = [] {
    const OnStandIn problem("q_len=8");
    const Answer answer(rapt_attend(&problem.attention(), nullptr));
    std::fprintf(stderr, "%s\n", answer.sentence.c_str());
    std::_Exit(answer.code);
  };
  EXPECT_EXIT(attend(), testing::ExitedWithCode(RAPT_INVALID_ARGUMENT),
              "RAPT_CHECK: is \"yes\"; must be 0 or 1");
}

TEST(RaptCheckOff, NothingIsReadBack) {
  const StandInCounts before = stand_in_counts();
  const OnStandIn problem(spoilt()[0].text);
  spoilt()[0].spoil(problem.attention());
  const rapt_options options = on_cuda();
  EXPECT_EQ(rapt_attend(&problem.attention(), &options), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(stand_in_counts().copies, before.copies);
  EXPECT_EQ(stand_in_counts().waits, before.waits);
}

}  // namespace
}  // namespace rapt::kit
