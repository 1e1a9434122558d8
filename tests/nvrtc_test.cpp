// SPDX-License-Identifier: Apache-2.0 OR MIT
// Finding NVRTC: the order of places, and sentences for a library that is absent, broken or too
// old.
#include "backend/cuda/nvrtc.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "scratch.h"

namespace rapt::cuda {
namespace {

namespace fs = std::filesystem;
using test::Scratch;

constexpr Arch kHopper{90, 1};

// A file with a compiler's name and nothing in it.
std::string plant(const Scratch& scratch, const std::string& name) {
  const fs::path path = scratch.path() / name;
  fs::create_directories(path.parent_path());
  std::ofstream(path) << "no library";
  return fs::canonical(path).string();
}

std::size_t place_of(const std::vector<std::string>& list, const std::string& path) {
  return static_cast<std::size_t>(std::find(list.begin(), list.end(), path) - list.begin());
}

const Nvrtc* compiler_for(Arch arch, int driver_version, std::string& why) {
  return NvrtcFinder::system().find(arch, driver_version, why);
}

TEST(NvrtcSearch, LooksBesideRaptThenInEnvironmentsThenElsewhere) {
  const Scratch scratch;
  const std::string wheel = "lib/python3.11/site-packages/nvidia/";
  const std::string beside = plant(scratch, "build/venv/" + wheel + "cu13/lib/libnvrtc.so.13");
  const std::string old = plant(scratch, "build/venv/" + wheel + "cuda_nvrtc/lib/libnvrtc.so.12");
  const std::string active = plant(scratch, "active/" + wheel + "cu13/lib/libnvrtc.so.13");
  const std::string on_path = plant(scratch, "python/" + wheel + "cu13/lib/libnvrtc.so.13");
  const std::string toolkit = plant(scratch, "toolkit/lib64/libnvrtc.so.13");
  plant(scratch, "python/bin/python3");
  NvrtcPlaces places;
  places.library = scratch.at("build/release/librapt.so");
  places.virtual_env = scratch.at("active");
  places.path = "relative:" + scratch.at("nothing") + ":" + scratch.at("python/bin");
  places.toolkit = scratch.at("toolkit");
  std::vector<std::string> found = nvrtc_candidates(places);
  // Temporary directories may lie in a tree that has wheels of its own.
  std::erase_if(found, [&](const std::string& path) {
    return path.starts_with('/') && !path.starts_with(scratch.path().string());
  });
  const std::vector<std::string> wanted = {
      beside, old, active, on_path, "libnvrtc.so.13", "libnvrtc.so.12", toolkit};
  EXPECT_EQ(found, wanted);
}

TEST(NvrtcSearch, FindsTheWheelBesideAnInstalledPackage) {
  const Scratch scratch;
  const std::string site = "prefix/lib/python3.12/site-packages/";
  const std::string wheel = plant(scratch, site + "nvidia/cu13/lib/libnvrtc.so.13");
  NvrtcPlaces places;
  places.library = scratch.at(site + "rapt/librapt.so");
  EXPECT_EQ(place_of(nvrtc_candidates(places), wheel), 0U);
}

TEST(NvrtcSearch, StopsAtAFolderThatAnybodyMayWriteTo) {
  const Scratch scratch;
  const std::string wheel = "venv/lib/python3.11/site-packages/nvidia/cu13/lib/libnvrtc.so.13";
  const std::string own = plant(scratch, "shared/tree/build/" + wheel);
  plant(scratch, "shared/" + wheel);
  plant(scratch, wheel);
  fs::permissions(scratch.path() / "shared", fs::perms::all);
  NvrtcPlaces places;
  places.library = scratch.at("shared/tree/build/release/librapt.so");
  const std::vector<std::string> found = nvrtc_candidates(places);
  EXPECT_EQ(found.front(), own);
  EXPECT_EQ(std::count_if(
                found.begin(), found.end(),
                [&](const std::string& path) { return path.starts_with(scratch.path().string()); }),
            1);
}

TEST(NvrtcSearch, LeavesTheAlternativeAndTheBuiltinsAlone) {
  const Scratch scratch;
  plant(scratch, "lib64/libnvrtc.alt.so.13");
  plant(scratch, "lib64/libnvrtc-builtins.so.13.0");
  NvrtcPlaces places;
  places.toolkit = scratch.path().string();
  for (const std::string& path : nvrtc_candidates(places)) {
    EXPECT_NE(path.find(scratch.path().string()), 0U) << path;
  }
}

TEST(NvrtcFinder, SaysThatThereIsNone) {
  NvrtcFinder finder({});
  std::string why;
  EXPECT_EQ(finder.find(kHopper, 0, why), nullptr);
  EXPECT_TRUE(why.starts_with("nvrtc: no libnvrtc.so.13 or .12 beside rapt")) << why;
}

TEST(NvrtcFinder, SaysWhatIsWrongWithABrokenOne) {
  const Scratch scratch;
  const std::string broken = plant(scratch, "libnvrtc.so.13");
  NvrtcFinder finder({broken, "libm.so.6"});
  std::string why;
  EXPECT_EQ(finder.find(kHopper, 0, why), nullptr);
  EXPECT_TRUE(why.starts_with("nvrtc: " + broken + ": ")) << why;
  EXPECT_NE(why.find("libm.so.6: it has no nvrtc"), std::string::npos) << why;
}

TEST(NvrtcFinder, PassesOverABrokenOne) {
  std::string why;
  const Nvrtc* works = compiler_for(kHopper, 0, why);
  if (works == nullptr) GTEST_SKIP() << why;
  const Scratch scratch;
  NvrtcFinder finder({plant(scratch, "libnvrtc.so.13"), works->path()});
  const Nvrtc* found = finder.find(kHopper, 0, why);
  ASSERT_NE(found, nullptr) << why;
  EXPECT_EQ(found->path(), works->path());
}

TEST(NvrtcFinder, TellsTheVersionToTheBuild) {
  std::string why;
  const Nvrtc* compiler = compiler_for(kHopper, 0, why);
  if (compiler == nullptr) GTEST_SKIP() << why;
  EXPECT_EQ(std::count(compiler->version().begin(), compiler->version().end(), '.'), 2)
      << compiler->version();
}

TEST(NvrtcFinder, ChoosesByArchitecture) {
  std::string why;
  if (compiler_for(kHopper, 0, why) == nullptr) GTEST_SKIP() << why;
  const Nvrtc* volta = compiler_for(Arch{70, 0}, 0, why);
  ASSERT_NE(volta, nullptr) << "the 12 series is installed for this: " << why;
  EXPECT_EQ(volta->major(), 12);
  EXPECT_EQ(compiler_for(Arch{999, 0}, 0, why), nullptr);
  EXPECT_NE(why.find("does not know sm_999"), std::string::npos) << why;
}

TEST(NvrtcFinder, ChoosesNoneThatTheDriverIsTooOldFor) {
  std::string why;
  const Nvrtc* newest = compiler_for(kHopper, 0, why);
  if (newest == nullptr) GTEST_SKIP() << why;
  const Nvrtc* older = compiler_for(kHopper, 12040, why);
  EXPECT_TRUE(older == nullptr || older->major() == 12);
  NvrtcFinder finder({newest->path()});
  EXPECT_EQ(finder.find(kHopper, 1000 * newest->major() - 100, why), nullptr);
  EXPECT_NE(why.find("is newer than the driver"), std::string::npos) << why;
}

TEST(Arch, IsReadAndPrinted) {
  Arch arch;
  for (const char* name : {"sm_70", "sm_80", "sm_90", "sm_90a", "sm_100a", "sm_120"}) {
    ASSERT_TRUE(parse_arch(name, arch)) << name;
    EXPECT_EQ(arch.name(), name);
  }
  for (const char* name : {"", "sm_", "sm_9", "sm_90b", "sm_aa", "compute_90", "sm_9000", "90"}) {
    EXPECT_FALSE(parse_arch(name, arch)) << name;
  }
  EXPECT_EQ(arch_of(9, 0).name(), "sm_90a");
  EXPECT_EQ(arch_of(8, 6).name(), "sm_86");
  EXPECT_EQ(arch_of(12, 0).name(), "sm_120");
}

}  // namespace
}  // namespace rapt::cuda
