// SPDX-License-Identifier: Apache-2.0 OR MIT
// rapt_compile: what it refuses, and a cache that it fills and that then serves read-only.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "backend/cuda/ahead.h"
#include "child.h"
#include "rapt/rapt.hpp"
#include "scratch.h"

namespace rapt {
namespace {

namespace fs = std::filesystem;
using test::Child;
using test::Scratch;

std::string refusal(const char* archs, rapt_preset preset = RAPT_PRESET_COMMON,
                    const char* kernel = nullptr) {
  rapt_compile_args args{};
  args.struct_size = sizeof args;
  args.archs = archs;
  args.kernel = kernel;
  args.preset = preset;
  EXPECT_EQ(rapt_compile(&args), RAPT_INVALID_ARGUMENT);
  return rapt_error_message();
}

TEST(Compile, RefusesWhatMakesNoSense) {
  EXPECT_EQ(rapt_compile(nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "args: is null");
  EXPECT_EQ(refusal(nullptr), "archs: is null");
  EXPECT_EQ(refusal(""), "archs: \"\" is no architecture, sm_80 or sm_90a is one");
  EXPECT_EQ(refusal("sm_80,"), "archs: \"\" is no architecture, sm_80 or sm_90a is one");
  EXPECT_EQ(refusal("sm_80,ampere"),
            "archs: \"ampere\" is no architecture, sm_80 or sm_90a is one");
  EXPECT_EQ(refusal("sm_80", 2), "preset: is 2; must be one of rapt_preset");
  EXPECT_EQ(refusal("sm_80", RAPT_PRESET_COMMON, "cuda/none"),
            "kernel: \"cuda/none\" is compiled for none of these architectures");
  rapt_compile_args args{};
  args.struct_size = sizeof args;
  args.archs = "sm_80";
  args.list_only = 2;
  EXPECT_EQ(rapt_compile(&args), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "list_only: is 2; must be 0 or 1");
}

using Wanted = decltype(CompileJob::preset);  // rapt.hpp has a Preset too

// Compiling ahead into a cache of the test's own; a process has but one of RAPT_CACHE_DIR.
class CompileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::NvrtcFinder::system().find({90, 1}, 0, why) == nullptr) GTEST_SKIP() << why;
  }

  // What one call answered, what it told of, and how much of that was compiled then.
  struct Told {
    rapt_status code = RAPT_OK;
    std::string sentence;
    std::vector<std::string> lines;
    std::size_t compiled = 0;
  };

  Told compile(std::vector<std::string> archs, Wanted preset = Wanted::common) const {
    Told told;
    CompileJob job{std::move(archs), preset, "cuda/stream", {}};
    job.report = [&](const CompiledKernel& kernel, std::size_t index, std::size_t count) {
      EXPECT_EQ(index, told.lines.size());
      EXPECT_LT(index, count);
      EXPECT_GT(kernel.registers, 0);
      EXPECT_EQ(kernel.spill_bytes, 0);
      told.lines.push_back(kernel.arch + " " + kernel.kernel + " " + kernel.config);
      told.compiled += kernel.compile_ms > 0 ? 1 : 0;
    };
    const cuda::CubinCache cache({.directory = directory_});
    const cuda::Compiler compiler(cuda::NvrtcFinder::system(), cache, 0);
    const auto status = cuda::compile_ahead(compiler, job);
    told.code = status.code();
    told.sentence = status.sentence();
    return told;
  }

  Scratch scratch_;
  std::string directory_ = scratch_.at("cache");
};

TEST_F(CompileTest, FillsACacheThatThenServesReadOnly) {
  const Told first = compile({"sm_80", "sm_90a"});
  EXPECT_EQ(first.code, RAPT_OK) << first.sentence;
  ASSERT_GE(first.lines.size(), 4U);
  EXPECT_EQ(first.compiled, first.lines.size());
  EXPECT_EQ(first.lines[0], "sm_80 cuda/stream kind=0 threads=256 loads=4");
  fs::permissions(directory_, fs::perms(0555));
  const int answer = Child([&] {
                       if (!test::become_nobody()) return 1;
                       const Told again = compile({"sm_80", "sm_90a"});
                       if (again.code != RAPT_OK || again.lines != first.lines) return 2;
                       return again.compiled == 0 ? 0 : 3;
                     }).wait();
  EXPECT_EQ(answer, 0);
}

TEST_F(CompileTest, AllHoldsWhatIsCommon) {
  const Told all = compile({"sm_90a"}, Wanted::all);
  const Told common = compile({"sm_90a"});
  EXPECT_EQ(all.code, RAPT_OK) << all.sentence;
  EXPECT_GT(all.lines.size(), common.lines.size());
  EXPECT_EQ(common.compiled, 0U);
}

TEST(Compile, ListsWithoutCompiling) {
  const auto list = [](const char* kernel) {
    std::vector<std::string> lines;
    const v0::Status status = v0::compile(
        "sm_80,sm_90a", v0::Preset::all,
        [&](const auto& told) {
          EXPECT_EQ(told.registers, 0);
          lines.push_back(std::string(told.arch) + " " + told.kernel + " " + told.config);
        },
        kernel, true);
    EXPECT_TRUE(status) << status.message();
    return lines;
  };
  const auto stream = list("cuda/stream");
  EXPECT_GT(list(nullptr).size(), stream.size());
  ASSERT_GT(stream.size(), 2U);
  EXPECT_EQ(list("cuda/stream kind=0 threads=256 loads=4"),
            (std::vector<std::string>{"sm_80 cuda/stream kind=0 threads=256 loads=4",
                                      "sm_90a cuda/stream kind=0 threads=256 loads=4"}));
}

TEST_F(CompileTest, StopsWhereNothingCanBeKept) {
  directory_ = "/dev/null/cache";
  const Told told = compile({"sm_80"});
  EXPECT_EQ(told.code, RAPT_INVALID_ARGUMENT);
  EXPECT_TRUE(told.sentence.starts_with("cache: /dev/null/cache cannot be written ("))
      << told.sentence;
  EXPECT_TRUE(told.lines.empty());
}

TEST_F(CompileTest, StopsAtAnUnknownArchitecture) {
  const Told told = compile({"sm_80", "sm_999"});
  EXPECT_EQ(told.code, RAPT_DEVICE_ERROR);
  EXPECT_NE(told.sentence.find("does not know sm_999"), std::string::npos) << told.sentence;
  EXPECT_EQ(told.lines.size(), 2U) << "those in front of it";
}

using CompileDeathTest = CompileTest;

TEST_F(CompileDeathTest, ThePublicVerbTellsOfEveryKernel) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";  // a process of its own reads the variable
  setenv("RAPT_CACHE_DIR", directory_.c_str(), 1);
  const auto compile_and_exit = [&] {
    std::int64_t told = 0;
    std::int64_t count = -1;
    const v0::Status status = v0::compile(
        "sm_80", v0::Preset::common,
        [&](const auto& kernel) {
          told += kernel.struct_size == sizeof(rapt_compiled) && kernel.index == told ? 1 : 0;
          count = kernel.count;
        },
        "cuda/stream");
    const bool kept = fs::exists(directory_);
    fs::remove_all(scratch_.path());
    std::exit(status && told == count && kept ? 0 : 1);
  };
  EXPECT_EXIT(compile_and_exit(), testing::ExitedWithCode(0), "");
  unsetenv("RAPT_CACHE_DIR");
}

}  // namespace
}  // namespace rapt
