// SPDX-License-Identifier: Apache-2.0 OR MIT
// The choice among several backends, with stand-ins: this build may have but one.
#include "api/choose.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace rapt {
namespace {

// A backend with a table of its own; it computes nothing.
class Table final : public Backend {
 public:
  // A kernel with its sentence of refusal; null: it takes the problem.
  struct Candidate {
    const char* kernel;
    const char* refusal;
  };

  Table(const char* name, std::vector<Candidate> rows) : name_(name), rows_(std::move(rows)) {}

  [[nodiscard]] const char* name() const override { return name_; }
  void devices(std::vector<rapt_device_info>&) const override {}
  [[nodiscard]] std::size_t kernel_count() const override { return rows_.size(); }
  [[nodiscard]] const char* kernel_name(KernelIndex kernel) const override {
    return rows_[kernel].kernel;
  }
  [[nodiscard]] Refusal refuse(KernelIndex kernel, const Problem&, const Target&) const override {
    const char* why = rows_[kernel].refusal;
    return why == nullptr ? Refusal() : Refusal::because(why);
  }
  [[nodiscard]] Grain grain(const Problem&, KernelIndex) const override { return {7, 1, 0, 0}; }
  [[nodiscard]] std::size_t workspace_bytes(const Problem&, KernelIndex, std::int64_t,
                                            const Target&) const override {
    return 0;
  }
  Status allocate(const Problem&, std::size_t, const Target&, void**) const override { return {}; }
  void release(const Problem&, void*, const Target&) const override {}
  Status forward(const Problem&, std::span<const Sequence>, const Schedule&, KernelIndex, void*,
                 const Target&) const override {
    return {};
  }
  [[nodiscard]] Status usable(const char*, std::int32_t) const override { return {}; }
  Status append(const AppendJob&, const Target&) const override { return {}; }
  Status move_pages(const PageJob&, const Target&) const override { return {}; }
  Status merge(const MergeJob&, const Target&) const override { return {}; }

 private:
  const char* name_;
  std::vector<Candidate> rows_;
};

struct Two {
  Table cuda = {"cuda",
                {{"cuda/a", "q: is small"}, {"cuda/b", "q: is small"}, {"cuda/c", "k: odd"}}};
  Table cpu = {"cpu", {{"cpu/fast", nullptr}, {"cpu/slow", nullptr}}};
  Backend* list[2] = {&cuda, &cpu};
};

Target asking_for(const char* backend, const char* kernel = "") {
  Target target;
  target.backend = backend;
  target.kernel = kernel;
  return target;
}

TEST(Choose, TakesTheFirstThatTakesTheProblem) {
  Two two;
  Choice choice;
  ASSERT_TRUE(choose(two.list, {}, {}, &choice).ok());
  EXPECT_EQ(choice.backend, &two.cpu);
  EXPECT_STREQ(choice.kernel_name(), "cpu/fast");
  EXPECT_EQ(choice.grain.rows, 7);
}

TEST(Choose, AForcedKernelIsTaken) {
  Two two;
  Choice choice;
  ASSERT_TRUE(choose(two.list, {}, asking_for("", "cpu/slow"), &choice).ok());
  EXPECT_STREQ(choice.kernel_name(), "cpu/slow");
}

TEST(Choose, SaysEverySentenceOnceWithItsKernels) {
  Two two;
  Choice choice;
  Problem problem;
  problem.device_kind = DeviceKind::cuda;
  const Status status = choose({two.list, 1}, problem, {}, &choice);
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(status.sentence(), "q: is small (cuda/a, cuda/b); k: odd (cuda/c)");
}

TEST(Choose, BackendsOfOtherDevicesAreSilent) {
  Two two;
  two.cpu = {"cpu", {{"cpu/fast", "q: is large"}}};
  Choice choice;
  EXPECT_EQ(choose(two.list, {}, {}, &choice).sentence(), "q: is large (cpu/fast)");
}

TEST(Choose, AForcedKernelAnswersForItself) {
  Two two;
  Choice choice;
  const Status status = choose(two.list, {}, asking_for("", "cuda/c"), &choice);
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(status.sentence(), "k: odd (cuda/c)");
}

TEST(Choose, AForcedBackendAnswersForItself) {
  Two two;
  Choice choice;
  const Status status = choose(two.list, {}, asking_for("cuda"), &choice);
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(status.sentence(), "q: is small (cuda/a, cuda/b); k: odd (cuda/c)");
}

TEST(Choose, AKernelOfAnotherBackendThanTheForcedOneIsRefused) {
  Two two;
  Choice choice;
  const Status status = choose(two.list, {}, asking_for("cuda", "cpu/fast"), &choice);
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(status.sentence(), "options.backend: asks for cuda (cpu/fast)");
}

TEST(Choose, WithoutKernelsThereIsNoChoice) {
  Choice choice;
  const Status status = choose({}, {}, {}, &choice);
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(status.sentence(), "q: is on cpu, which this build does not run on");
}

TEST(Choose, ExplainsTheWholeTable) {
  Two two;
  std::string json;
  ASSERT_TRUE(explain(two.list, {}, asking_for("cpu"), &json).ok());
  EXPECT_EQ(json,
            "{\"schema\": 1, \"chosen\": \"cpu/fast\", \"refused\": ["
            "{\"kernel\": \"cuda/a\", \"sentence\": \"options.backend: asks for cpu\"}, "
            "{\"kernel\": \"cuda/b\", \"sentence\": \"options.backend: asks for cpu\"}, "
            "{\"kernel\": \"cuda/c\", \"sentence\": \"options.backend: asks for cpu\"}, "
            "{\"kernel\": \"cpu/slow\", \"sentence\": \"cpu/fast: takes the problem and comes "
            "first\"}]}");
}

TEST(Choose, EscapesWhatJsonMustNotHold) {
  Table odd("cpu", {{"a\"b", "back\\slash\nline"}});
  Backend* list[] = {&odd};
  std::string json;
  ASSERT_TRUE(explain(list, {}, {}, &json).ok());
  EXPECT_EQ(json,
            "{\"schema\": 1, \"chosen\": null, \"refused\": [{\"kernel\": \"a\\\"b\", "
            "\"sentence\": \"back\\\\slash\\u000aline\"}]}");
}

TEST(Choose, TheBackendOfAVerbIsItsTensorsDevice) {
  Two two;
  Backend* backend = nullptr;
  ASSERT_TRUE(choose_backend(two.list, {"cache", DeviceKind::cpu, 0}, {}, &backend).ok());
  EXPECT_EQ(backend, &two.cpu);
  ASSERT_TRUE(choose_backend(two.list, {"cache", DeviceKind::cuda, 0}, {}, &backend).ok());
  EXPECT_EQ(backend, &two.cuda);
  const Status other =
      choose_backend(two.list, {"cache", DeviceKind::cpu, 0}, asking_for("cuda"), &backend);
  EXPECT_EQ(other.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(other.sentence(), "cache: is on cpu, the call asks for cuda");
}

}  // namespace
}  // namespace rapt
