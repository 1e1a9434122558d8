// SPDX-License-Identifier: Apache-2.0 OR MIT
// The disk cache: what separates entries, what happens to bad ones, bounds, locks, directories that
// cannot be written. No compiler is needed: the cubins are made up.
#include "backend/cuda/cubin_cache.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <span>
#include <thread>

#include "backend/cuda/sha256.h"
#include "backend/file.h"
#include "child.h"
#include "scratch.h"

namespace rapt::cuda {
namespace {

namespace fs = std::filesystem;
using test::Child;
using test::Scratch;
using test::Signal;

constexpr Arch kHopper{90, 1};

Source source(const std::string& text) { return {"cuda/test", "test", text, 0}; }

Cubin cubin(std::size_t bytes, int fill = 7) {
  Cubin made;
  made.code.assign(bytes, static_cast<std::byte>(fill));
  made.log = "ptxas info    : Used 24 registers, used 1 barriers, 512 bytes smem\n";
  made.resources = parse_resources(made.log);
  made.compiler = "13.0.88";
  return made;
}

class CubinCacheTest : public ::testing::Test {
 protected:
  CacheSettings settings(const std::string& directory = "") {
    CacheSettings made;
    made.directory = directory.empty() ? scratch_.at("cache") : directory;
    made.warn = [this](const std::string& sentence) { warnings_.push_back(sentence); };
    return made;
  }

  std::string only_file() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(scratch_.at("cache"))) {
      names.push_back(entry.path().string());
    }
    EXPECT_EQ(names.size(), 1U);
    return names.empty() ? "" : names.front();
  }

  // Stores an entry, lets `damage` change its bytes, and expects that it is refused with these
  // words, and that a new one takes its place.
  void expect_refused(const std::string& words,
                      const std::function<void(std::vector<std::byte>&)>& damage) {
    const CubinCache cache(settings());
    cache.store(key_, cubin(1000));
    std::vector<std::byte> bytes;
    ASSERT_TRUE(read_file(only_file(), bytes));
    damage(bytes);
    ASSERT_EQ(replace_file(only_file(), bytes), "");
    warnings_.clear();
    Cubin read;
    EXPECT_FALSE(cache.load(key_, read));
    ASSERT_EQ(warnings_.size(), 1U);
    EXPECT_NE(warnings_[0].find(words), std::string::npos) << warnings_[0];
    cache.store(key_, cubin(1000));
    EXPECT_TRUE(cache.load(key_, read));
  }

  Scratch scratch_;
  std::vector<std::string> warnings_;
  CacheKey key_ = cache_key(source("text"), kHopper, "13.0.88");
};

std::string hex_of(const std::string& text) {
  return to_hex(sha256(std::as_bytes(std::span(text))));
}

TEST(Sha256, AgreesWithTheStandardsExamples) {
  EXPECT_EQ(hex_of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex_of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex_of(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DependsOnTheCutsBetweenFields) {
  Sha256 one;
  one.add_field("ab");
  one.add_field("c");
  Sha256 other;
  other.add_field("a");
  other.add_field("bc");
  EXPECT_NE(one.finish(), other.finish());
}

TEST_F(CubinCacheTest, GivesBackWhatWasStored) {
  const CubinCache cache(settings());
  Cubin read;
  EXPECT_FALSE(cache.load(key_, read));
  cache.store(key_, cubin(5000));
  ASSERT_TRUE(cache.load(key_, read));
  EXPECT_EQ(read.code, cubin(5000).code);
  EXPECT_EQ(read.resources, cubin(5000).resources);
  EXPECT_EQ(read.resources.registers, 24);
  EXPECT_EQ(read.resources.shared_bytes, 512);
  EXPECT_EQ(read.compiler, "13.0.88");
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(CubinCacheTest, SeparatesTextArchitectureAndCompiler) {
  const CubinCache cache(settings());
  cache.store(key_, cubin(100));
  Cubin read;
  EXPECT_FALSE(cache.load(cache_key(source("text "), kHopper, "13.0.88"), read));
  EXPECT_FALSE(cache.load(cache_key(source("text"), Arch{90, 0}, "13.0.88"), read));
  EXPECT_FALSE(cache.load(cache_key(source("text"), Arch{80, 0}, "13.0.88"), read));
  EXPECT_FALSE(cache.load(cache_key(source("text"), kHopper, "13.0.48"), read));
  EXPECT_TRUE(cache.load(cache_key(source("text"), kHopper, "13.0.88"), read));
}

TEST_F(CubinCacheTest, ServesAnyCompilersEntryWhereThereIsNoCompiler) {
  const CubinCache cache(settings());
  cache.store(key_, cubin(100));
  Cubin read;
  EXPECT_TRUE(cache.load(cache_key(source("text"), kHopper, ""), read));
  EXPECT_EQ(read.compiler, "13.0.88");
  EXPECT_FALSE(cache.load(cache_key(source("other"), kHopper, ""), read));
}

TEST_F(CubinCacheTest, RefusesADamagedEntry) {
  for (const std::size_t at : {std::size_t{80}, std::size_t{136}, std::size_t{700}}) {
    expect_refused("damaged", [at](std::vector<std::byte>& bytes) { bytes[at] ^= std::byte{1}; });
  }
}

TEST_F(CubinCacheTest, RefusesATruncatedEntry) {
  for (const std::size_t kept : {0U, 1U, 135U, 136U, 137U, 1100U}) {
    expect_refused("cut short", [kept](std::vector<std::byte>& bytes) { bytes.resize(kept); });
  }
}

TEST_F(CubinCacheTest, RefusesAForeignFile) {
  expect_refused("no entry of this cache",
                 [](std::vector<std::byte>& bytes) { bytes.assign(500, std::byte{'x'}); });
  expect_refused("another kernel", [this](std::vector<std::byte>& bytes) {
    const CubinCache other(settings(scratch_.at("other")));
    const CacheKey key = cache_key(source("other"), kHopper, "13.0.88");
    other.store(key, cubin(1000));
    const fs::path file = fs::directory_iterator(scratch_.at("other"))->path();
    ASSERT_TRUE(read_file(file.string(), bytes));
  });
}

TEST_F(CubinCacheTest, EvictsTheLeastRecentlyUsed) {
  CacheSettings small = settings();
  small.limit_bytes = 10 * 1300;
  const CubinCache cache(small);
  const auto key = [](int i) { return cache_key(source(std::to_string(i)), kHopper, "13.0.88"); };
  Cubin read;
  for (int i = 0; i < 30; ++i) {
    cache.store(key(i), cubin(1000, i));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // file systems' clocks are coarse
    ASSERT_TRUE(cache.load(key(0), read)) << "used after every store, gone after " << i;
  }
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(scratch_.at("cache"))) bytes += entry.file_size();
  EXPECT_LE(bytes, small.limit_bytes);
  EXPECT_GT(bytes, small.limit_bytes / 2);
  EXPECT_TRUE(cache.load(key(29), read));
  EXPECT_FALSE(cache.load(key(1), read));
}

TEST_F(CubinCacheTest, NeverStoresMoreThanItsLimit) {
  CacheSettings small = settings();
  small.limit_bytes = 500;
  const CubinCache cache(small);
  cache.store(key_, cubin(1000));
  Cubin read;
  EXPECT_FALSE(cache.load(key_, read));
}

TEST_F(CubinCacheTest, TouchesNoOtherFiles) {
  CacheSettings small = settings();
  small.limit_bytes = 1500;
  const CubinCache cache(small);
  fs::create_directories(scratch_.at("cache"));
  const std::string mine = scratch_.at("cache/thesis.cubin");
  std::ofstream(mine) << std::string(4000, 'x');
  fs::last_write_time(mine, fs::file_time_type::clock::now() - std::chrono::hours(100));
  cache.store(key_, cubin(1000));
  cache.store(cache_key(source("b"), kHopper, "13.0.88"), cubin(1000));
  EXPECT_EQ(fs::file_size(mine), 4000U);
}

TEST_F(CubinCacheTest, SweepsWhatDeadProcessesLeft) {
  const CubinCache cache(settings());
  cache.store(key_, cubin(100));
  const std::string old = only_file() + ".abcdef.tmp";
  const std::string fresh = only_file() + ".ghijkl.tmp";
  std::ofstream(old) << "x";
  std::ofstream(fresh) << "x";
  fs::last_write_time(old, fs::file_time_type::clock::now() - std::chrono::hours(2));
  cache.store(key_, cubin(100));
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(fresh));
}

TEST_F(CubinCacheTest, ReadOnlyDirectoryServesAndWarnsOnce) {
  CubinCache(settings()).store(key_, cubin(1000));
  fs::permissions(scratch_.at("cache"), fs::perms(0555));
  const int answer = Child([this] {
                       if (!test::become_nobody()) return 1;
                       const CubinCache cache(settings());
                       Cubin read;
                       if (!cache.load(key_, read) || read.code != cubin(1000).code) return 2;
                       if (!warnings_.empty()) return 3;
                       const CacheKey other = cache_key(source("b"), kHopper, "13.0.88");
                       if (cache.lock(other).held()) return 4;
                       cache.store(other, cubin(1000));
                       cache.store(other, cubin(1000));
                       if (cache.load(other, read)) return 5;
                       return warnings_.size() == 1 ? 0 : 6;
                     }).wait();
  EXPECT_EQ(answer, 0);
  EXPECT_NE(only_file(), "");
}

TEST_F(CubinCacheTest, FullDiskIsAWarningAndLeavesNothing) {
  const int answer = Child([this] {
                       std::signal(SIGXFSZ, SIG_IGN);
                       const rlimit limit{4096, 4096};
                       if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
                       const CubinCache cache(settings());
                       cache.store(key_, cubin(100'000));
                       Cubin read;
                       if (cache.load(key_, read)) return 2;
                       return warnings_.size() == 1 ? 0 : 3;
                     }).wait();
  EXPECT_EQ(answer, 0);
  EXPECT_TRUE(fs::is_empty(scratch_.at("cache")));
}

TEST_F(CubinCacheTest, DirectoryThatCannotBeMadeIsAWarning) {
  std::ofstream(scratch_.at("file")) << "x";
  const CubinCache cache(settings(scratch_.at("file") + "/cache"));
  EXPECT_FALSE(cache.lock(key_).held());
  cache.store(key_, cubin(100));
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_NE(warnings_[0].find("cannot be written"), std::string::npos);
}

TEST_F(CubinCacheTest, LockHasOneHolderAtATime) {
  const CubinCache cache(settings());
  std::atomic<int> inside = 0;
  std::atomic<int> most = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int turn = 0; turn < 5; ++turn) {
        const CubinCache::Lock lock = cache.lock(key_);
        EXPECT_TRUE(lock.held());
        most = std::max(most.load(), ++inside);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        --inside;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(most, 1);
  EXPECT_TRUE(fs::is_empty(scratch_.at("cache"))) << "lock files are removed";
}

TEST_F(CubinCacheTest, LocksOfOtherKeysAreFree) {
  const CubinCache cache(settings());
  const CubinCache::Lock one = cache.lock(key_);
  const CubinCache::Lock other = cache.lock(cache_key(source("b"), kHopper, "13.0.88"));
  EXPECT_TRUE(one.held());
  EXPECT_TRUE(other.held());
}

TEST_F(CubinCacheTest, LockOfADeadProcessIsTakenOver) {
  const Signal locked;
  const Child child([&] {
    const CubinCache cache(settings());
    const CubinCache::Lock lock = cache.lock(key_);
    locked.send();
    return raise(SIGKILL);
  });
  locked.await();
  const CubinCache cache(settings());
  const CubinCache::Lock lock = cache.lock(key_);
  EXPECT_EQ(child.wait(), -SIGKILL);
  EXPECT_TRUE(lock.held());
}

TEST_F(CubinCacheTest, PatienceWithAHolderEnds) {
  CacheSettings hasty = settings();
  hasty.patience = std::chrono::milliseconds(50);
  const CubinCache cache(hasty);
  const CubinCache::Lock held = cache.lock(key_);
  EXPECT_FALSE(cache.lock(key_).held());
  ASSERT_EQ(warnings_.size(), 1U);
  EXPECT_NE(warnings_[0].find("does not end"), std::string::npos);
}

TEST(CacheSettings, FollowTheEnvironmentInOrder) {
  const int answer = Child([] {
                       setenv("HOME", "/h", 1);
                       unsetenv("XDG_CACHE_HOME");
                       unsetenv("RAPT_CACHE_DIR");
                       if (system_cache_settings().directory != "/h/.cache/rapt") return 1;
                       setenv("XDG_CACHE_HOME", "/x", 1);
                       if (system_cache_settings().directory != "/x/rapt") return 2;
                       setenv("RAPT_CACHE_DIR", "/r", 1);
                       if (system_cache_settings().directory != "/r") return 3;
                       setenv("RAPT_CACHE_DIR", "", 1);
                       if (system_cache_settings().directory != "/x/rapt") return 4;
                       unsetenv("HOME"), unsetenv("XDG_CACHE_HOME");
                       return system_cache_settings().directory.empty() ? 0 : 5;
                     }).wait();
  EXPECT_EQ(answer, 0);
}

}  // namespace
}  // namespace rapt::cuda
