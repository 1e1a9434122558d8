// SPDX-License-Identifier: Apache-2.0 OR MIT
// The front door around a valid problem: options, the choice of a kernel, explain, prepare,
// devices, the environment, and the names of rapt.h.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "api/choose.h"
#include "rapt/rapt.h"
#include "valid_problem.h"

namespace rapt {
namespace {

rapt_options with_backend(const char* backend) {
  rapt_options options = {};
  options.struct_size = sizeof options;
  options.backend = backend;
  return options;
}

rapt_options with_kernel(const char* kernel) {
  rapt_options options = with_backend(nullptr);
  options.kernel = kernel;
  return options;
}

std::string explanation(const rapt_attention& problem, const rapt_options* options = nullptr) {
  std::size_t needed = 0;
  EXPECT_EQ(rapt_explain(&problem, options, nullptr, 0, &needed), RAPT_INVALID_ARGUMENT);
  std::string text(needed, '\0');
  EXPECT_EQ(rapt_explain(&problem, options, text.data(), needed, nullptr), RAPT_OK)
      << rapt_error_message();
  text.pop_back();
  return text;
}

TEST(Attend, AveragesTheValuesOfEqualKeys) {
  ValidProblem valid;
  const auto fill = [](const rapt_tensor& t, std::int64_t n, float first, float step) {
    for (std::int64_t i = 0; i < n; ++i) {
      static_cast<float*>(t.data)[i] = first + step * static_cast<float>(i / 16);
    }
  };
  fill(valid.problem.q, 2 * 4 * 4 * 16, 1, 0);
  fill(valid.problem.k, 2 * 6 * 2 * 16, 0.5F, 0);
  fill(valid.problem.v, 2 * 6 * 2 * 8, 0, 1);  // key j of either head holds j, sequence 1 j + 6
  ASSERT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
  EXPECT_NEAR(static_cast<float*>(valid.problem.out.data)[0], 2.5F, 1e-5F);
  EXPECT_NEAR(static_cast<float*>(valid.problem.out.data)[4 * 4 * 8], 8.5F, 1e-5F);
  EXPECT_NEAR(static_cast<float*>(valid.problem.lse.data)[0], 2 + std::log(6.0F), 1e-5F);
}

struct OptionsRefusal {
  const char* sentence;
  rapt_options options;
  rapt_status code;
};

TEST(Options, Refuses) {
  rapt_options small = with_backend(nullptr);
  small.struct_size = 8;
  rapt_options negative = with_backend(nullptr);
  negative.threads = -1;
  const OptionsRefusal refusals[] = {
      {"options: struct_size is 8; must be the struct's size, 56", small, RAPT_INVALID_ARGUMENT},
      {"options.threads: is -1; must be 0 or more", negative, RAPT_INVALID_ARGUMENT},
      {"options.backend: \"tpu\" is no backend", with_backend("tpu"), RAPT_INVALID_ARGUMENT},
      {"options.backend: metal is not in this build", with_backend("metal"), RAPT_UNSUPPORTED},
      {"options.kernel: \"cpu/none\" is no kernel of this build", with_kernel("cpu/none"),
       RAPT_INVALID_ARGUMENT},
  };
  for (const OptionsRefusal& refusal : refusals) {
    ValidProblem valid;
    expect_refusal(valid.arena, refusal.sentence, refusal.code,
                   [&] { return rapt_attend(&valid.problem, &refusal.options); });
    std::size_t needed = 0;
    expect_refusal(valid.arena, refusal.sentence, refusal.code, [&] {
      return rapt_explain(&valid.problem, &refusal.options, nullptr, 0, &needed);
    });
  }
}

TEST(Options, EveryVerbReadsThem) {
  ValidProblem valid;
  const rapt_options bad = with_backend("tpu");
  rapt_tensor cache = valid.arena.tensor(RAPT_FP32, {2, 8});
  rapt_tensor none = valid.arena.tensor(RAPT_INT64, {0});
  EXPECT_EQ(rapt_clear_pages(&cache, &none, &bad), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "options.backend: \"tpu\" is no backend");
  const rapt_options kernel = with_kernel("cpu/baseline_forward");
  EXPECT_EQ(rapt_clear_pages(&cache, &none, &kernel), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "options.kernel: only attention has kernels to name");
}

TEST(Options, AutoAndCpuAreTheSameHere) {
  ValidProblem valid;
  for (const char* name : {"auto", "", "cpu"}) {
    const rapt_options options = with_backend(name);
    EXPECT_EQ(rapt_attend(&valid.problem, &options), RAPT_OK) << rapt_error_message();
  }
}

TEST(Explain, ListsEveryOtherKernelWithItsSentence) {
  ValidProblem valid;
  for (rapt_tensor* t :
       {&valid.problem.q, &valid.problem.k, &valid.problem.v, &valid.problem.out}) {
    t->data = nullptr;  // shapes are enough
  }
  const auto answer = nlohmann::json::parse(explanation(valid.problem));
  EXPECT_EQ(answer["schema"], 1);
  const std::string chosen = answer["chosen"];
  EXPECT_EQ(chosen.substr(0, 4), "cpu/");
  for (const auto& refused : answer["refused"]) {
    EXPECT_NE(refused["kernel"], chosen);
    EXPECT_NE(refused["sentence"], "");
  }
}

TEST(Explain, ChoosesNothingForAProblemThatNoKernelTakes) {
  ValidProblem valid(Form::dense, RAPT_FP8_E5M2);
  const auto answer = nlohmann::json::parse(explanation(valid.problem));
  EXPECT_TRUE(answer["chosen"].is_null());
  EXPECT_EQ(answer["refused"].back()["sentence"],
            "q: dtype is fp8_e5m2, a CPU kernel takes fp32, fp16 or bf16");
}

TEST(Explain, AForcedKernelLeavesNoOther) {
  ValidProblem valid;
  const auto free = nlohmann::json::parse(explanation(valid.problem));
  const std::string chosen = free["chosen"];
  const rapt_options options = with_kernel(chosen.c_str());
  const auto forced = nlohmann::json::parse(explanation(valid.problem, &options));
  EXPECT_EQ(forced["chosen"], chosen);
  for (const auto& refused : forced["refused"]) {
    EXPECT_EQ(refused["sentence"], "options.kernel: asks for " + chosen);
  }
  EXPECT_EQ(rapt_attend(&valid.problem, &options), RAPT_OK) << rapt_error_message();
}

TEST(Explain, RefusesBuffers) {
  ValidProblem valid;
  const std::string text = explanation(valid.problem);
  char small[8] = "before";
  EXPECT_EQ(rapt_explain(&valid.problem, nullptr, small, sizeof small, nullptr),
            RAPT_INVALID_ARGUMENT);
  EXPECT_EQ(rapt_error_message(),
            "capacity: is 8, the answer needs " + std::to_string(text.size() + 1));
  EXPECT_STREQ(small, "before");
  EXPECT_EQ(rapt_explain(&valid.problem, nullptr, nullptr, 8, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "text: is null");
}

TEST(Attend, TensorsOfAnotherDeviceAreUnsupported) {
  ValidProblem valid;
  for (rapt_tensor* t : {&valid.problem.q, &valid.problem.k, &valid.problem.v, &valid.problem.out,
                         &valid.problem.lse}) {
    t->device_kind = RAPT_VULKAN;
  }
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_UNSUPPORTED);
  EXPECT_STREQ(rapt_error_message(), "q: is on vulkan, which this build does not run on");
}

TEST(Prepare, AnswersWhatAttendWouldSayOfTheShapes) {
  ValidProblem valid;
  valid.problem.q.data = nullptr;
  EXPECT_EQ(rapt_prepare(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
  valid.problem.k.shape[3] = 8;
  EXPECT_EQ(rapt_prepare(&valid.problem, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "k: head_dim is 8, q has 16");
}

// The CPU comes last in the list: accelerators, or why there are none, stand before it.
TEST(Devices, ListsTheCpu) {
  std::size_t count = 0;
  ASSERT_EQ(rapt_devices(nullptr, 0, &count), RAPT_OK);
  ASSERT_GE(count, 1U);
  std::vector<rapt_device_info> infos(count);
  infos[0].struct_size = sizeof infos[0];
  ASSERT_EQ(rapt_devices(infos.data(), count, &count), RAPT_OK) << rapt_error_message();
  EXPECT_STREQ(infos.back().backend, "cpu");
  EXPECT_EQ(infos.back().available, 1);
  EXPECT_GE(infos.back().workers, 1);
}

TEST(Devices, RefusesAndLeavesTheRestAlone) {
  EXPECT_EQ(rapt_devices(nullptr, 0, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "count: is null");
  rapt_device_info info = {};
  std::size_t count = 77;
  EXPECT_EQ(rapt_devices(&info, 1, &count), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(),
               "devices[0]: struct_size is 0; must be the struct's size, 432");
  EXPECT_EQ(count, 77U);
  EXPECT_EQ(rapt_devices(&info, 0, &count), RAPT_OK);  // no entry is looked at
  EXPECT_STREQ(info.backend, "");
}

TEST(Devices, FillsEntriesOfAYoungerCaller) {
  struct Younger {
    rapt_device_info info;
    std::int64_t unknown = 0;
  } younger = {};
  std::size_t count = 0;
  younger.info.struct_size = sizeof younger;
  ASSERT_EQ(rapt_devices(&younger.info, 1, &count), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(younger.info.struct_size, sizeof younger);
  EXPECT_STRNE(younger.info.backend, "");
}

TEST(Errors, BelongToTheirThread) {
  EXPECT_EQ(rapt_attend(nullptr, nullptr), RAPT_INVALID_ARGUMENT);
  std::thread other([] { EXPECT_STREQ(rapt_error_message(), ""); });
  other.join();
  EXPECT_STREQ(rapt_error_message(), "problem: is null");
}

// 2^58 sequences without a query: valid, but a list of them has no place in memory.
TEST(Errors, AVerbWithoutMemorySaysSo) {
  ValidProblem valid(Form::dense, RAPT_FP16);
  rapt_attention& p = valid.problem;
  p.lse = {};
  for (rapt_tensor* t : {&p.q, &p.k, &p.v, &p.out}) {
    *t = rapt_view(t->data, RAPT_FP16, RAPT_BSHD, std::int64_t{1} << 58, 0, 1, 8);
  }
  expect_refusal(valid.arena, "memory: the host has too little for this call", RAPT_OUT_OF_MEMORY,
                 [&] { return rapt_attend(&p, nullptr); });
}

// The environment is read once a process, so each of these runs in a process of its own.
class EnvironmentTest : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  void TearDown() override {
    unsetenv("RAPT_BACKEND");
    unsetenv("RAPT_LOG");
  }
};

// Exit code: the status of an attend; the sentence goes to stderr.
void attend_and_exit(const rapt_options* options) {
  ValidProblem valid;
  const rapt_status status = rapt_attend(&valid.problem, options);
  std::fprintf(stderr, "%s\n", rapt_error_message());
  std::_Exit(status);
}

TEST_F(EnvironmentTest, BackendNamesTheDefault) {
  setenv("RAPT_BACKEND", "tpu", 1);
  EXPECT_EXIT(attend_and_exit(nullptr), testing::ExitedWithCode(RAPT_INVALID_ARGUMENT),
              "RAPT_BACKEND: \"tpu\" is no backend");
  setenv("RAPT_BACKEND", "vulkan", 1);
  EXPECT_EXIT(attend_and_exit(nullptr), testing::ExitedWithCode(RAPT_UNSUPPORTED),
              "RAPT_BACKEND: vulkan is not in this build");
  setenv("RAPT_BACKEND", "cuda", 1);
  EXPECT_EXIT(attend_and_exit(nullptr), testing::ExitedWithCode(RAPT_UNSUPPORTED),
              "q: is on cpu, this kernel runs on cuda");
  const rapt_options cpu = with_backend("cpu");
  EXPECT_EXIT(attend_and_exit(&cpu), testing::ExitedWithCode(RAPT_OK), "");
  setenv("RAPT_BACKEND", "cpu", 1);
  EXPECT_EXIT(attend_and_exit(nullptr), testing::ExitedWithCode(RAPT_OK), "");
}

TEST_F(EnvironmentTest, LogNamesTheKernelChosen) {
  const std::string path = testing::TempDir() + "rapt_log_test.txt";
  std::remove(path.c_str());
  setenv("RAPT_LOG", path.c_str(), 1);
  EXPECT_EXIT(attend_and_exit(nullptr), testing::ExitedWithCode(RAPT_OK), "");
  std::string line;
  std::getline(std::ifstream(path), line);
  EXPECT_EQ(line.substr(line.find(' ')),
            " batch=2 q_len=4 kv_len=6 q_heads=4 kv_heads=2 head_dim=16 value_dim=8 dtype=fp32");
  std::remove(path.c_str());
}

TEST_F(EnvironmentTest, ALogThatCannotBeWrittenIsLetBe) {
  setenv("RAPT_LOG", "/dev/null/no/such/file", 1);
  EXPECT_EXIT(attend_and_exit(nullptr), testing::ExitedWithCode(RAPT_OK), "");
}

TEST(Names, AreNeverNull) {
  EXPECT_EQ(rapt_version(), 100);
  EXPECT_STREQ(rapt_status_name(RAPT_OK), "ok");
  EXPECT_STREQ(rapt_status_name(RAPT_DEVICE_ERROR), "device_error");
  EXPECT_STREQ(rapt_status_name(6), "unknown");
  EXPECT_STREQ(rapt_status_name(-1), "unknown");
  EXPECT_STREQ(rapt_dtype_name(RAPT_NONE), "none");
  EXPECT_STREQ(rapt_dtype_name(RAPT_INT64), "int64");
  EXPECT_STREQ(rapt_dtype_name(10), "unknown");
  EXPECT_EQ(rapt_dtype_bytes(RAPT_NONE), 0U);
  EXPECT_EQ(rapt_dtype_bytes(RAPT_FP8_E5M2), 1U);
  EXPECT_EQ(rapt_dtype_bytes(RAPT_BF16), 2U);
  EXPECT_EQ(rapt_dtype_bytes(99), 0U);
}

TEST(Views, NameTheDimensionsOfEveryOrder) {
  const rapt_tensor bshd = rapt_view(nullptr, RAPT_FP32, RAPT_BSHD, 2, 5, 3, 8);
  const rapt_tensor bhsd = rapt_view(nullptr, RAPT_FP32, RAPT_BHSD, 2, 5, 3, 8);
  const rapt_tensor thd = rapt_view(nullptr, RAPT_FP32, RAPT_THD, 0, 5, 3, 8);
  const rapt_tensor htd = rapt_view(nullptr, RAPT_FP32, RAPT_HTD, 0, 5, 3, 8);
  const auto expect = [](const rapt_tensor& t, std::vector<std::int64_t> shape,
                         std::vector<std::int64_t> strides) {
    ASSERT_EQ(t.rank, static_cast<std::int32_t>(shape.size()));
    EXPECT_EQ(std::vector<std::int64_t>(t.shape, t.shape + t.rank), shape);
    EXPECT_EQ(std::vector<std::int64_t>(t.strides, t.strides + t.rank), strides);
  };
  expect(bshd, {2, 5, 3, 8}, {120, 24, 8, 1});
  expect(bhsd, {2, 5, 3, 8}, {120, 8, 40, 1});
  expect(thd, {5, 3, 8}, {24, 8, 1});
  expect(htd, {5, 3, 8}, {8, 40, 1});
  EXPECT_EQ(rapt_view(nullptr, RAPT_FP32, 4, 2, 5, 3, 8).rank, 0);
}

}  // namespace
}  // namespace rapt
