// SPDX-License-Identifier: Apache-2.0 OR MIT
// From configuration to kernel without a GPU: NVRTC compiles for real, a stand-in loads. Skips only
// where there is no NVRTC.
#include "backend/cuda/jit.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "backend/cuda/config_text.h"
#include "backend/cuda/kernel_text.h"
#include "backend/cuda/stream.h"
#include "child.h"
#include "kernels/cuda/stream_config.h"
#include "scratch.h"

namespace rapt::cuda {
namespace {

using kernels::StreamConfig;
using kernels::StreamKind;
using test::Child;
using test::Scratch;
using test::Signal;
using Clock = std::chrono::steady_clock;

constexpr Arch kHopper{90, 1};
constexpr int kProcesses = 16;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

KernelKey stream_key(StreamConfig config, Arch arch = kHopper) {
  return kernel_key(stream_family(), config, arch);
}

class JitTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (NvrtcFinder::system().find(kHopper, 0, why) == nullptr) GTEST_SKIP() << why;
  }

  CacheSettings settings() {
    CacheSettings made;
    made.directory = scratch_.at("cache");
    return made;
  }

  // Loads nothing, counts, and gives every kernel a handle of its own.
  Jit::Load load() {
    return [this](const Cubin& cubin, const Source&, Arch, LoadedKernel& kernel) {
      EXPECT_FALSE(cubin.code.empty());
      kernel.kernel = reinterpret_cast<CUkernel>(&handles_[++loads_]);
      return Status();
    };
  }

  Scratch scratch_;
  CubinCache cache_{settings()};
  Compiler compiler_{NvrtcFinder::system(), cache_, 0};
  std::atomic<int> loads_ = 0;
  char handles_[64] = {};  // what a loaded kernel points at
};

TEST(KernelText, PutsEveryIncludeInFrontOnceAndKeepsLineNumbers) {
  const KernelFile files[] = {
      {"a.h", "#pragma once\nint a;\n"},
      {"b/b.cuh", "#pragma once\n#include \"../a.h\"\n#include \"c.h\"\nint b;\n"},
      {"b/c.h", "#include \"a.h\"\nint c;\n"},
  };
  std::string text;
  ASSERT_TRUE(flatten(files, "b/b.cuh", text).ok());
  EXPECT_EQ(text,
            "#line 1 \"b/b.cuh\"\n\n#line 1 \"a.h\"\n\nint a;\n#line 3 \"b/b.cuh\"\n"
            "#line 1 \"b/c.h\"\n#line 2 \"b/c.h\"\nint c;\n#line 4 \"b/b.cuh\"\nint b;\n");
}

TEST(KernelText, RefusesWhatIsNotThere) {
  const KernelFile files[] = {{"a.h", "#include \"gone.h\"\n"}};
  std::string text;
  EXPECT_EQ(flatten(files, "a.h", text).sentence(),
            "kernels: a.h includes gone.h, which is not there");
  EXPECT_EQ(flatten(files, "b.h", text).sentence(), "kernels: there is no b.h");
}

TEST(KernelText, HoldsTheKernelsWholeAndIncludesNothingElse) {
  for (const KernelFile& file : kernel_files()) {
    EXPECT_TRUE(file.text.starts_with("// SPDX-License-Identifier")) << file.name;
    EXPECT_EQ(file.text.find("#include <"), std::string_view::npos) << file.name;
    std::string text;
    EXPECT_TRUE(flatten(kernel_files(), file.name, text).ok()) << file.name;
  }
}

TEST(ConfigText, PrintsNamedMembers) {
  const StreamConfig config{.kind = StreamKind::copy, .threads = 128, .loads = 8};
  EXPECT_EQ(config_constant("StreamConfig", config),
            "constexpr StreamConfig kConfig = {.kind = decltype(StreamConfig::kind){1}, "
            ".threads = 128, .loads = 8};\n");
  EXPECT_EQ(config_words(config), "kind=1 threads=128 loads=8");
}

struct Forgetful {
  int told = 1;
  int forgotten = 2;
  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("told", &Forgetful::told);
  }
};

TEST(ConfigText, RefusesAMemberLeftOut) {
  EXPECT_TRUE(config_constant("Forgetful", Forgetful{}).starts_with("#error"));
  EXPECT_EQ(config_words(Forgetful{}), "");
}

TEST(Resources, AreReadFromThePtxasLog) {
  const Resources read = parse_resources(
      "ptxas info    : 8 bytes gmem\n"
      "ptxas info    : Compiling entry function 'k' for 'sm_90a'\n"
      "    16 bytes stack frame, 24 bytes spill stores, 32 bytes spill loads\n"
      "ptxas info    : Used 168 registers, used 3 barriers, 16 bytes cumulative stack size, 4096 "
      "bytes "
      "smem\n"
      "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are "
      "serialized\n");
  EXPECT_EQ(read.registers, 168);
  EXPECT_EQ(read.stack_bytes, 16);
  EXPECT_EQ(read.spill_store_bytes, 24);
  EXPECT_EQ(read.spill_load_bytes, 32);
  EXPECT_EQ(read.shared_bytes, 4096);
  ASSERT_EQ(read.warnings.size(), 1U);
  EXPECT_NE(read.warnings[0].find("C7510"), std::string::npos);
}

TEST(KernelMap, FindsEveryKeyThroughGrowth) {
  KernelMap<int> map;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(map.find(stream_key({.threads = i})), nullptr);
    const int* first = map.insert(stream_key({.threads = i}), i);
    EXPECT_EQ(map.insert(stream_key({.threads = i}), -1), first);
  }
  for (int i = 0; i < 1000; ++i) {
    const int* value = map.find(stream_key({.threads = i}));
    ASSERT_NE(value, nullptr);
    EXPECT_EQ(*value, i);
  }
}

TEST(KernelMap, ServesReadersWhileItGrows) {
  KernelMap<int> map;
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done) {
      for (int i = 0; i < 2000; ++i) {
        const int* value = map.find(stream_key({.threads = i}));
        EXPECT_TRUE(value == nullptr || *value == i);
      }
    }
  });
  for (int i = 0; i < 2000; ++i) map.insert(stream_key({.threads = i}), i);
  done = true;
  reader.join();
}

TEST(KernelMap, SeparatesFamilyConfigurationArchitectureAndModifier) {
  const KernelFamily other = stream_family();
  KernelMap<int> map;
  map.insert(stream_key({}), 1);
  EXPECT_NE(map.find(stream_key({})), nullptr);
  EXPECT_EQ(map.find(stream_key({.kind = StreamKind::copy})), nullptr);
  EXPECT_EQ(map.find(stream_key({}, Arch{90, 0})), nullptr);
  EXPECT_EQ(map.find(kernel_key(other, StreamConfig{}, kHopper)), nullptr);
  EXPECT_EQ(map.find(kernel_key(stream_family(), StreamConfig{}, kHopper, 1)), nullptr);
}

// Of the processor's time, which the machine's other users do not lengthen.
double cpu_milliseconds() { return 1e3 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST_F(JitTest, CompilesColdWithinASecond) {
  for (const Arch arch : {Arch{75, 0}, Arch{80, 0}, kHopper}) {
    Source source;
    Cubin cubin;
    ASSERT_TRUE(kernel_source(stream_key({}, arch), "", source).ok());
    const double start = cpu_milliseconds();
    const Status status = compiler_.compile(source, arch, cubin);
    const double cold = cpu_milliseconds() - start;
    ASSERT_TRUE(status.ok()) << status.sentence();
    const auto again = Clock::now();
    ASSERT_TRUE(compiler_.compile(source, arch, cubin).ok());
    EXPECT_EQ(cubin.compile_ms, 0.0) << "the second one is read from the disk";
    std::printf("%s: cold %.1f ms, from disk %.2f ms, %d registers, %zu bytes\n",
                arch.name().c_str(), cold, milliseconds_since(again), cubin.resources.registers,
                cubin.code.size());
    EXPECT_LE(cold, 1000.0);
    EXPECT_GT(cubin.resources.registers, 0);
    EXPECT_EQ(cubin.resources.spill_store_bytes, 0);
    EXPECT_TRUE(cubin.resources.warnings.empty()) << cubin.log;
  }
}

TEST_F(JitTest, CompilesTheSameBytesEveryTime) {
  std::string why;
  const Nvrtc* nvrtc = NvrtcFinder::system().find(kHopper, 0, why);
  Source source;
  Cubin one;
  Cubin two;
  ASSERT_TRUE(kernel_source(stream_key({}), "", source).ok());
  ASSERT_TRUE(nvrtc->compile(source, kHopper, one).ok());
  ASSERT_TRUE(nvrtc->compile(source, kHopper, two).ok());
  EXPECT_EQ(one.code, two.code);
}

TEST_F(JitTest, WarmLookupIsFarBelowAMicrosecond) {
  Jit jit(compiler_, load());
  const LoadedKernel* kernel = nullptr;
  for (int loads = 1; loads <= 4; ++loads) {
    ASSERT_TRUE(jit.get(stream_key({.loads = loads}), kernel).ok());
  }
  constexpr int kTurns = 200'000;
  StreamConfig config;
  std::ptrdiff_t sum = 0;
  const auto start = Clock::now();
  for (int i = 0; i < kTurns; ++i) {
    config.loads = 1 + i % 4;
    sum += reinterpret_cast<char*>(jit.find(stream_key(config))->kernel) - handles_;
  }
  const double nanoseconds = 1e6 * milliseconds_since(start) / kTurns;
  std::printf("warm lookup: %.1f ns\n", nanoseconds);
  EXPECT_EQ(sum, kTurns / 4 * (1 + 2 + 3 + 4));
  EXPECT_LT(nanoseconds, 500.0);
}

TEST_F(JitTest, ThreadsThatRaceShareOneCompilation) {
  Jit jit(compiler_, load());
  std::vector<std::thread> threads;
  std::vector<const LoadedKernel*> kernels(16, nullptr);
  for (const LoadedKernel*& kernel : kernels) {
    threads.emplace_back([&] { EXPECT_TRUE(jit.get(stream_key({.loads = 16}), kernel).ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(loads_, 1);
  for (const LoadedKernel* kernel : kernels) EXPECT_EQ(kernel, kernels.front());
  EXPECT_NE(kernels.front(), nullptr);
}

TEST_F(JitTest, PrepareReturnsAtOnceAndWaitSeesItsKernels) {
  Jit jit(compiler_, load());
  const auto start = Clock::now();
  for (int loads = 1; loads <= 6; ++loads) jit.prepare(stream_key({.loads = loads}));
  const double begun = milliseconds_since(start);
  jit.wait();
  std::printf("prepare of 6: returned after %.2f ms, done after %.1f ms\n", begun,
              milliseconds_since(start));
  for (int loads = 1; loads <= 6; ++loads) {
    EXPECT_NE(jit.find(stream_key({.loads = loads})), nullptr);
  }
  EXPECT_EQ(loads_, 6);
  EXPECT_LT(begun, milliseconds_since(start) / 2);
}

TEST_F(JitTest, WhoNeedsAKernelNowOvertakesTheQueue) {
  Jit jit(compiler_, load());
  for (int loads = 1; loads <= 12; ++loads) jit.prepare(stream_key({.loads = loads}));
  const LoadedKernel* kernel = nullptr;
  ASSERT_TRUE(jit.get(stream_key({.loads = 12}), kernel).ok());
  EXPECT_LT(loads_, 12) << "the last of the queue came first";
  jit.wait();
  EXPECT_EQ(loads_, 12);
}

TEST_F(JitTest, EndsWhileKernelsAreOutstanding) {
  Jit jit(compiler_, load());
  for (int loads = 1; loads <= 12; ++loads) jit.prepare(stream_key({.loads = loads}));
}

TEST_F(JitTest, AModifierIsPartOfTheText) {
  Source plain;
  Source modified;
  ASSERT_TRUE(kernel_source(stream_key({}), "", plain).ok());
  ASSERT_TRUE(kernel_source(stream_key({}), "struct Modifier {};", modified).ok());
  EXPECT_NE(cache_key(plain, kHopper, "").digest, cache_key(modified, kHopper, "").digest);
}

TEST_F(JitTest, ATextThatDoesNotCompileSaysWhereAndIsTriedAgain) {
  Jit jit(compiler_, load());
  const LoadedKernel* kernel = nullptr;
  for (int turn = 0; turn < 2; ++turn) {
    const Status status = jit.get(stream_key({.loads = -1}), kernel);
    EXPECT_EQ(status.code(), RAPT_INTERNAL);
    EXPECT_EQ(kernel, nullptr);
    EXPECT_NE(status.sentence().find("refused cuda/stream for sm_90a: stream.cuh("),
              std::string::npos)
        << status.sentence();
  }
  EXPECT_EQ(loads_, 0);
}

TEST_F(JitTest, AKernelThatDoesNotLoadIsAnAnswerForAll) {
  Jit jit(compiler_, [](const Cubin&, const Source&, Arch, LoadedKernel&) {
    return Status(RAPT_DEVICE_ERROR, "cuLibraryLoadData: CUDA_ERROR_NO_BINARY_FOR_GPU");
  });
  const LoadedKernel* kernel = nullptr;
  EXPECT_EQ(jit.get(stream_key({}), kernel).code(), RAPT_DEVICE_ERROR);
  EXPECT_EQ(jit.find(stream_key({})), nullptr);
}

TEST_F(JitTest, AShippedCacheNeedsNoCompiler) {
  Source source;
  Cubin compiled;
  ASSERT_TRUE(kernel_source(stream_key({}), "", source).ok());
  ASSERT_TRUE(compiler_.compile(source, kHopper, compiled).ok());
  NvrtcFinder nothing({});
  const Compiler bare(nothing, cache_, 0);
  Cubin read;
  ASSERT_TRUE(bare.compile(source, kHopper, read).ok());
  EXPECT_EQ(read.code, compiled.code);
  const Status status = bare.compile(source, Arch{80, 0}, read);
  EXPECT_EQ(status.code(), RAPT_DEVICE_ERROR);
  EXPECT_TRUE(status.sentence().starts_with("nvrtc: no libnvrtc.so.13")) << status.sentence();
}

TEST_F(JitTest, AProcessEndsWellWhileItsKernelsAreCompiled) {
  for (const int milliseconds : {0, 1, 5, 10, 20, 40, 80, 120}) {
    const Child child([&] {
      setenv("RAPT_CACHE_DIR", scratch_.at("cache").c_str(), 1);
      for (int loads = 1; loads <= 6; ++loads) {
        Jit::system().prepare(stream_key({.threads = 32 + milliseconds, .loads = loads}));
      }
      usleep(static_cast<useconds_t>(1000 * milliseconds));
      std::exit(0);
      return 1;
    });
    EXPECT_EQ(child.wait(), 0) << "after " << milliseconds << " ms";
  }
}

// What a child did, as its exit code.
constexpr int kFailed = 1;
constexpr int kCompiled = 10;
constexpr int kFromDisk = 11;

int compile_and_tell(const Compiler& compiler, const Source& source) {
  Cubin cubin;
  if (!compiler.compile(source, kHopper, cubin).ok() || cubin.code.empty()) return kFailed;
  return cubin.compile_ms > 0.0 ? kCompiled : kFromDisk;
}

TEST_F(JitTest, OneOfSixteenProcessesCompilesThoughTheFirstIsKilled) {
  Source source;
  std::string why;
  ASSERT_TRUE(kernel_source(stream_key({.loads = 16}), "", source).ok());
  const Nvrtc* nvrtc = NvrtcFinder::system().find(kHopper, 0, why);
  const CacheKey key = cache_key(source, kHopper, nvrtc->version());
  const Signal locked;
  const Signal others_run;
  // The first holds the lock and has half of its file written when it is killed.
  const Child first([&] {
    const CubinCache::Lock lock = cache_.lock(key);
    const std::string half = scratch_.at("cache/" + key.digest + "-half.tmp");
    std::ofstream(half) << "half of a cubin" << std::flush;
    locked.send();
    others_run.await();
    usleep(100'000);
    return raise(SIGKILL);
  });
  locked.await();
  std::vector<Child> others;
  for (int i = 1; i < kProcesses; ++i) {
    others.emplace_back([&] { return compile_and_tell(compiler_, source); });
  }
  others_run.send();
  EXPECT_EQ(first.wait(), -SIGKILL);
  int compiled = 0;
  for (const Child& child : others) {
    const int did = child.wait();
    EXPECT_TRUE(did == kCompiled || did == kFromDisk) << did;
    compiled += did == kCompiled ? 1 : 0;
  }
  EXPECT_EQ(compiled, 1);
}

TEST_F(JitTest, ProcessesKilledAtAnyMomentLeaveACacheThatWorks) {
  Source source;
  ASSERT_TRUE(kernel_source(stream_key({.loads = 8}), "", source).ok());
  for (const int microseconds : {1'000, 5'000, 10'000, 20'000, 30'000, 40'000}) {
    const Child child([&] { return compile_and_tell(compiler_, source); });
    usleep(static_cast<useconds_t>(microseconds));
    child.kill();
    child.wait();
    Cubin cubin;
    const auto start = Clock::now();
    EXPECT_TRUE(compiler_.compile(source, kHopper, cubin).ok());
    EXPECT_LT(milliseconds_since(start), 5000.0) << "no lock outlives its holder";
    std::filesystem::remove_all(scratch_.at("cache"));
  }
}

}  // namespace
}  // namespace rapt::cuda
