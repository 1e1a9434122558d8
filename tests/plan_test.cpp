// SPDX-License-Identifier: Apache-2.0 OR MIT
// Plan, upload, run: the same bits as attend, nothing allocated by a run, and every refusal.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "allocations.h"
#include "rapt/rapt.h"
#include "valid_problem.h"

namespace rapt {
namespace {

struct FreePlan {
  void operator()(rapt_plan* plan) const { rapt_plan_free(plan); }
};
using PlanPointer = std::unique_ptr<rapt_plan, FreePlan>;

PlanPointer make_plan(const rapt_attention& problem, const rapt_bounds* bounds = nullptr,
                      const rapt_options* options = nullptr) {
  rapt_plan* plan = nullptr;
  EXPECT_EQ(rapt_plan_create(&problem, bounds, options, &plan), RAPT_OK) << rapt_error_message();
  return PlanPointer(plan);
}

// Workspace as a plan wants it.
struct Workspace {
  std::size_t bytes;
  std::unique_ptr<void, decltype(&std::free)> memory;

  explicit Workspace(const PlanPointer& plan)
      : bytes(rapt_plan_workspace_bytes(plan.get()) / 64 * 64 + 64),
        memory(std::aligned_alloc(64, bytes), &std::free) {}
  [[nodiscard]] void* data() const { return memory.get(); }
};

rapt_step step_of(std::int64_t batch, const std::int64_t* q_len, const std::int64_t* kv_len) {
  rapt_step step = {};
  step.struct_size = sizeof step;
  step.batch = batch;
  step.q_len = q_len;
  step.kv_len = kv_len;
  return step;
}

rapt_bounds bounds_of(std::int64_t batch, std::int64_t q_tokens, std::int64_t q_len,
                      std::int64_t kv_len) {
  return {sizeof(rapt_bounds), batch, q_tokens, q_len, kv_len};
}

// One query against many keys: enough for the keys to be split.
struct Decode {
  std::vector<float> memory = std::vector<float>(std::size_t{4} * 8192 * 16 + 1024);
  rapt_attention problem = {};

  Decode() {
    for (std::size_t i = 0; i < memory.size(); ++i) {
      memory[i] = static_cast<float>((i * 2654435761U >> 7) % 1000) / 500 - 1;
    }
    problem.struct_size = sizeof problem;
    problem.q = rapt_view(memory.data(), RAPT_FP32, RAPT_BSHD, 1, 1, 2, 16);
    problem.out = rapt_view(memory.data() + 64, RAPT_FP32, RAPT_BSHD, 1, 1, 2, 16);
    problem.k = rapt_view(memory.data() + 128, RAPT_FP32, RAPT_BSHD, 1, 8192, 1, 16);
    problem.v = rapt_view(memory.data() + 128 + 8192 * 16, RAPT_FP32, RAPT_BSHD, 1, 8192, 1, 16);
  }
  [[nodiscard]] std::vector<float> out() const {
    return {memory.begin() + 64, memory.begin() + 64 + 32};
  }
};

TEST(Plan, RunGivesTheBitsOfAttend) {
  Decode decode;
  ASSERT_EQ(rapt_attend(&decode.problem, nullptr), RAPT_OK) << rapt_error_message();
  const std::vector<float> wanted = decode.out();
  const PlanPointer plan = make_plan(decode.problem);
  const Workspace workspace(plan);
  std::memset(decode.problem.out.data, 0xFF, 32 * sizeof(float));
  ASSERT_EQ(rapt_upload(plan.get(), nullptr, workspace.data(), workspace.bytes, nullptr), RAPT_OK)
      << rapt_error_message();
  ASSERT_EQ(rapt_run(plan.get(), &decode.problem, workspace.data(), workspace.bytes, nullptr),
            RAPT_OK)
      << rapt_error_message();
  EXPECT_EQ(decode.out(), wanted);
}

TEST(Plan, RunAllocatesNothing) {
  for (const Form form : {Form::dense, Form::ragged, Form::paged}) {
    ValidProblem valid(form);
    valid.problem.mask = &valid.mask;
    if (form == Form::dense) valid.problem.lengths = &valid.lengths;
    const std::int64_t q_len[] = {4, form == Form::paged ? 4 : 3};
    const std::int64_t kv_len[] = {6, form == Form::paged ? 5 : 3};
    const PlanPointer plan = make_plan(valid.problem);
    const Workspace workspace(plan);
    const rapt_step step = step_of(0, q_len, kv_len);
    rapt_options options = {};
    options.struct_size = sizeof options;
    options.backend = "cpu";
    options.kernel = rapt_plan_kernel(plan.get());
    ASSERT_EQ(rapt_upload(plan.get(), &step, workspace.data(), workspace.bytes, &options), RAPT_OK)
        << rapt_error_message();
    for (int layer = 0; layer < 3; ++layer) {
      const std::int64_t before = allocations();
      const rapt_status status =
          rapt_run(plan.get(), &valid.problem, workspace.data(), workspace.bytes, &options);
      const std::int64_t after = allocations();
      EXPECT_EQ(status, RAPT_OK) << rapt_error_message();
      EXPECT_EQ(after - before, 0);
    }
  }
}

TEST(Plan, ServesSmallerStepsThanItsBounds) {
  ValidProblem valid(Form::ragged);
  const rapt_bounds bounds = bounds_of(8, 64, 32, 100);
  const PlanPointer plan = make_plan(valid.problem, &bounds);
  const Workspace workspace(plan);
  const std::int64_t q_len[] = {4, 3};
  const std::int64_t kv_len[] = {6, 3};
  const rapt_step step = step_of(2, q_len, kv_len);
  ASSERT_EQ(rapt_upload(plan.get(), &step, workspace.data(), workspace.bytes, nullptr), RAPT_OK)
      << rapt_error_message();
  EXPECT_EQ(rapt_run(plan.get(), &valid.problem, workspace.data(), workspace.bytes, nullptr),
            RAPT_OK)
      << rapt_error_message();
}

TEST(Plan, PositionsAreThoseOfTheRun) {
  ValidProblem valid;
  valid.problem.mask = &valid.mask;
  valid.problem.positions = &valid.positions;
  valid.positions.q_start = valid.arena.int32s({100, -100});  // sees all, sees nothing
  valid.positions.kv_start = {};
  for (std::int64_t i = 0; i < 2 * 6 * 2 * 8; ++i) {
    static_cast<float*>(valid.problem.v.data)[i] = 1;
  }
  const PlanPointer plan = make_plan(valid.problem);
  const Workspace workspace(plan);
  ASSERT_EQ(rapt_upload(plan.get(), nullptr, workspace.data(), workspace.bytes, nullptr), RAPT_OK);
  ASSERT_EQ(rapt_run(plan.get(), &valid.problem, workspace.data(), workspace.bytes, nullptr),
            RAPT_OK)
      << rapt_error_message();
  const auto* out = static_cast<float*>(valid.problem.out.data);
  EXPECT_FLOAT_EQ(out[0], 1);
  EXPECT_FLOAT_EQ(out[4 * 4 * 8], 0);
}

TEST(Plan, NullIsNoPlan) {
  ValidProblem valid;
  rapt_plan_free(nullptr);
  EXPECT_EQ(rapt_plan_workspace_bytes(nullptr), 0U);
  EXPECT_STREQ(rapt_plan_kernel(nullptr), "");
  const auto expect = [&](const char* sentence, auto verb) {
    expect_refusal(valid.arena, sentence, RAPT_INVALID_ARGUMENT, verb);
  };
  expect("plan: is null",
         [&] { return rapt_plan_create(&valid.problem, nullptr, nullptr, nullptr); });
  expect("plan: is null", [&] { return rapt_upload(nullptr, nullptr, nullptr, 0, nullptr); });
  expect("plan: is null", [&] { return rapt_run(nullptr, &valid.problem, nullptr, 0, nullptr); });
}

TEST(Plan, ARefusalLeavesNoPlan) {
  ValidProblem valid;
  valid.problem.k.shape[3] = 8;
  rapt_plan* plan = nullptr;
  EXPECT_EQ(rapt_plan_create(&valid.problem, nullptr, nullptr, &plan), RAPT_INVALID_ARGUMENT);
  EXPECT_EQ(plan, nullptr);
}

struct BoundsRefusal {
  const char* sentence;
  rapt_bounds bounds;
};

TEST(Plan, RefusesBounds) {
  rapt_bounds small = bounds_of(0, 0, 0, 0);
  small.struct_size = 8;
  const BoundsRefusal refusals[] = {
      {"bounds: struct_size is 8; must be the struct's size, 40", small},
      {"bounds.batch: is -1; must be 0 or more", bounds_of(-1, 0, 0, 0)},
      {"bounds.q_tokens: is -2; must be 0 or more", bounds_of(0, -2, 0, 0)},
      {"bounds.q_len: is -3; must be 0 or more", bounds_of(0, 0, -3, 0)},
      {"bounds.kv_len: is -4; must be 0 or more", bounds_of(0, 0, 0, -4)},
      {"bounds: their products overflow 64 bits", bounds_of(std::int64_t{1} << 62, 0, 8, 0)},
      {"bounds: their products overflow 64 bits", bounds_of(0, std::int64_t{1} << 62, 0, 0)},
      {"bounds: their products overflow 64 bits", bounds_of(0, 0, std::int64_t{1} << 61, 0)},
      {"bounds: their products overflow 64 bits", bounds_of(0, 0, 0, INT64_MAX)},
  };
  for (const BoundsRefusal& refusal : refusals) {
    ValidProblem valid;
    rapt_plan* plan = nullptr;
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT, [&] {
      return rapt_plan_create(&valid.problem, &refusal.bounds, nullptr, &plan);
    });
  }
  ValidProblem padded;
  padded.problem.lengths = &padded.lengths;
  const rapt_bounds longer = bounds_of(0, 0, 9, 0);
  rapt_plan* plan = nullptr;
  expect_refusal(padded.arena, "bounds.q_len: is 9; with lengths.q_len it must be q's, 4",
                 RAPT_INVALID_ARGUMENT,
                 [&] { return rapt_plan_create(&padded.problem, &longer, nullptr, &plan); });
}

struct StepRefusal {
  const char* sentence;
  std::int64_t batch;
  std::vector<std::int64_t> q_len, kv_len;
};

TEST(Plan, RefusesSteps) {
  const StepRefusal refusals[] = {
      {"step.batch: is -1; must be 0 or more", -1, {4, 3}, {6, 3}},
      {"step.batch: is 3, the plan has 2", 3, {4, 3, 1}, {6, 3, 1}},
      {"step.q_len: is null; a ragged problem's shapes do not say its lengths", 0, {}, {6, 3}},
      {"step.kv_len: is null; a ragged problem's shapes do not say its lengths", 0, {4, 3}, {}},
      {"step.q_len: sequence 1 is -3; must be 0 or more", 0, {4, -3}, {6, 3}},
      {"step.q_len: sequence 0 is 8, the plan has 7", 0, {8, 0}, {6, 3}},
      {"step.kv_len: sequence 1 is 10, the plan has 9", 0, {4, 3}, {6, 10}},
      {"step.q_len: has 8 tokens, the plan has 7", 0, {4, 4}, {6, 3}},
  };
  for (const StepRefusal& refusal : refusals) {
    ValidProblem valid(Form::ragged);
    const PlanPointer plan = make_plan(valid.problem);
    const Workspace workspace(plan);
    const rapt_step step =
        step_of(refusal.batch, refusal.q_len.empty() ? nullptr : refusal.q_len.data(),
                refusal.kv_len.empty() ? nullptr : refusal.kv_len.data());
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT, [&] {
      return rapt_upload(plan.get(), &step, workspace.data(), workspace.bytes, nullptr);
    });
  }
}

TEST(Plan, ARaggedStepOfOneSequenceNeedsNoLengths) {
  ValidProblem valid(Form::ragged);
  valid.ragged.q_offsets = valid.arena.int32s({0, 7});
  valid.ragged.kv_offsets = valid.arena.int32s({0, 9});
  const PlanPointer plan = make_plan(valid.problem);
  const Workspace workspace(plan);
  EXPECT_EQ(rapt_upload(plan.get(), nullptr, workspace.data(), workspace.bytes, nullptr), RAPT_OK);
  EXPECT_EQ(rapt_run(plan.get(), &valid.problem, workspace.data(), workspace.bytes, nullptr),
            RAPT_OK)
      << rapt_error_message();
}

TEST(Plan, RefusesWorkspaces) {
  Decode decode;
  const PlanPointer plan = make_plan(decode.problem);
  const std::size_t bytes = rapt_plan_workspace_bytes(plan.get());
  const Workspace workspace(plan);
  const Workspace other(plan);
  ASSERT_GT(bytes, 0U);
  const auto expect = [](const std::string& sentence, rapt_status status) {
    EXPECT_EQ(status, RAPT_INVALID_ARGUMENT);
    EXPECT_EQ(rapt_error_message(), sentence);
  };
  const auto upload = [&](void* data, std::size_t size) {
    return rapt_upload(plan.get(), nullptr, data, size, nullptr);
  };
  const auto run = [&](void* data, std::size_t size) {
    return rapt_run(plan.get(), &decode.problem, data, size, nullptr);
  };
  const std::string needs = ", the plan needs " + std::to_string(bytes);
  expect("plan: was never uploaded", run(workspace.data(), bytes));
  expect("workspace_bytes: is 1" + needs, upload(workspace.data(), 1));
  expect("workspace: is null", upload(nullptr, bytes));
  expect("workspace: is not aligned to 64 bytes",
         upload(static_cast<char*>(workspace.data()) + 8, bytes));
  ASSERT_EQ(upload(workspace.data(), bytes), RAPT_OK);
  expect("workspace_bytes: is 0" + needs, run(workspace.data(), 0));
  expect("workspace: is not the one uploaded", run(other.data(), bytes));
}

TEST(Plan, RefusesOptionsThatItWasNotMadeFor) {
  Decode decode;
  rapt_options one = {};
  one.struct_size = sizeof one;
  one.threads = 1;
  const PlanPointer plan = make_plan(decode.problem, nullptr, &one);
  const Workspace workspace(plan);
  const auto upload = [&](const rapt_options& options) {
    return rapt_upload(plan.get(), nullptr, workspace.data(), workspace.bytes, &options);
  };
  rapt_options many = one;
  many.threads = 64;
  EXPECT_EQ(upload(many), RAPT_INVALID_ARGUMENT);
  EXPECT_EQ(std::string(rapt_error_message()).substr(0, 33), "options.threads: want a workspace");
  rapt_options kernel = one;
  kernel.kernel = "cpu/other";
  EXPECT_EQ(upload(kernel), RAPT_INVALID_ARGUMENT);
  EXPECT_EQ(rapt_error_message(), std::string("options.kernel: is cpu/other, the plan has ") +
                                      rapt_plan_kernel(plan.get()));
  rapt_options older = one;
  older.struct_size = 0;
  EXPECT_EQ(upload(older), RAPT_INVALID_ARGUMENT);
  EXPECT_EQ(upload(one), RAPT_OK) << rapt_error_message();
}

struct RunRefusal {
  const char* sentence;
  void (*change)(ValidProblem&);
};

void expect_other_problems_refused(Form form, std::initializer_list<RunRefusal> refusals) {
  const std::int64_t q_len[] = {4, form == Form::ragged ? 3 : 4};
  const std::int64_t kv_len[] = {6, form == Form::ragged ? 3 : form == Form::paged ? 5 : 6};
  for (const RunRefusal& refusal : refusals) {
    ValidProblem valid(form);
    const PlanPointer plan = make_plan(valid.problem);
    const Workspace workspace(plan);
    const rapt_step step = step_of(2, q_len, kv_len);
    ASSERT_EQ(rapt_upload(plan.get(), &step, workspace.data(), workspace.bytes, nullptr), RAPT_OK);
    refusal.change(valid);
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT, [&] {
      return rapt_run(plan.get(), &valid.problem, workspace.data(), workspace.bytes, nullptr);
    });
  }
}

TEST(Plan, RefusesOtherProblems) {
  expect_other_problems_refused(
      Form::dense,
      {
          {"problem: struct_size is 0; must be the struct's size, 664",
           [](ValidProblem& v) { v.problem.struct_size = 0; }},
          {"q: q_heads is 2, the plan has 4",
           [](ValidProblem& v) {
             v.problem.q.shape[2] = v.problem.out.shape[2] = v.problem.lse.shape[1] = 2;
           }},
          {"q: head_dim is 8, the plan has 16",
           [](ValidProblem& v) { v.problem.q.shape[3] = v.problem.k.shape[3] = 8; }},
          {"mask.right: is 0, the plan has 9223372036854775807",
           [](ValidProblem& v) { v.problem.mask = &v.mask; }},
          {"q: dtype is fp16, the plan has fp32",
           [](ValidProblem& v) {
             v.problem.q.dtype = v.problem.k.dtype = v.problem.v.dtype = RAPT_FP16;
           }},
          {"bias.bias: dtype is fp32, the plan has none",
           [](ValidProblem& v) { v.problem.bias = &v.bias; }},
          {"sinks: is given, the plan has none",
           [](ValidProblem& v) { v.problem.sinks = &v.sinks; }},
          {"alibi: is given, the plan has none",
           [](ValidProblem& v) { v.problem.alibi = &v.alibi; }},
          {"softcap: is given, the plan has none",
           [](ValidProblem& v) { v.problem.softcap = &v.softcap; }},
          {"dropout: is given, the plan has none",
           [](ValidProblem& v) { v.problem.dropout = &v.dropout; }},
          {"lse: is missing", [](ValidProblem& v) { v.problem.lse = {}; }},
          {"lengths.kv_len: is given, the plan has none",
           [](ValidProblem& v) {
             v.problem.lengths = &v.lengths;
             v.lengths.q_len = v.lengths.cache_row = v.lengths.left_pad = {};
           }},
          {"positions.q_start: is given, the plan has none",
           [](ValidProblem& v) { v.problem.positions = &v.positions; }},
          {"q: batch is 1, 2 were uploaded",
           [](ValidProblem& v) {
             rapt_attention& p = v.problem;
             for (rapt_tensor* t : {&p.q, &p.k, &p.v, &p.out, &p.lse}) t->shape[0] = 1;
           }},
          {"q: sequence 0 is 3, 4 was uploaded",
           [](ValidProblem& v) {
             v.problem.q.shape[1] = v.problem.out.shape[1] = v.problem.lse.shape[2] = 3;
           }},
          {"k: sequence 0 is 5, 6 was uploaded",
           [](ValidProblem& v) { v.problem.k.shape[1] = v.problem.v.shape[1] = 5; }},
      });
  expect_other_problems_refused(
      Form::ragged,
      {
          {"ragged.q_offsets: sequence 0 is 5, 4 was uploaded",
           [](ValidProblem& v) { int32_at(v.ragged.q_offsets, 1) = 5; }},
          {"ragged.kv_offsets: sequence 0 is 5, 6 was uploaded",
           [](ValidProblem& v) { int32_at(v.ragged.kv_offsets, 1) = 5; }},
          {"ragged.q_offsets: batch is 1, 2 were uploaded",
           [](ValidProblem& v) {
             v.ragged.q_offsets = v.arena.int32s({0, 7});
             v.ragged.kv_offsets = v.arena.int32s({0, 9});
           }},
          {"ragged.q_offsets: decreases from 4 to 3 at 2",  // checked as attend checks it
           [](ValidProblem& v) { int32_at(v.ragged.q_offsets, 2) = 3; }},
      });
  expect_other_problems_refused(Form::paged,
                                {
                                    {"lengths.kv_len: sequence 1 is 4, 5 was uploaded",
                                     [](ValidProblem& v) { int32_at(v.lengths.kv_len, 1) = 4; }},
                                    {"pages.layout: is 1, the plan has 0",
                                     [](ValidProblem& v) {
                                       v.pages.layout = RAPT_HEAD_PAGE_DIM;
                                       v.problem.k = v.arena.tensor(RAPT_FP32, {5, 2, 4, 16});
                                       v.problem.v = v.arena.tensor(RAPT_FP32, {5, 2, 4, 8});
                                     }},
                                });
}

TEST(Plan, RefusesOtherPaddedLengths) {
  ValidProblem valid;
  valid.problem.lengths = &valid.lengths;
  const PlanPointer plan = make_plan(valid.problem);
  const Workspace workspace(plan);
  const std::int64_t q_len[] = {4, 3};
  const std::int64_t kv_len[] = {6, 3};
  const rapt_step step = step_of(2, q_len, kv_len);
  ASSERT_EQ(rapt_upload(plan.get(), &step, workspace.data(), workspace.bytes, nullptr), RAPT_OK);
  const auto run = [&] {
    return rapt_run(plan.get(), &valid.problem, workspace.data(), workspace.bytes, nullptr);
  };
  ASSERT_EQ(run(), RAPT_OK) << rapt_error_message();
  int32_at(valid.lengths.left_pad, 1) = 1;
  expect_refusal(valid.arena, "lengths.left_pad: sequence 1 is 4, 3 was uploaded",
                 RAPT_INVALID_ARGUMENT, run);
  int32_at(valid.lengths.left_pad, 1) = 2;
  int32_at(valid.lengths.q_len, 1) = 2;
  expect_refusal(valid.arena, "lengths.q_len: sequence 1 is 2, 3 was uploaded",
                 RAPT_INVALID_ARGUMENT, run);
  int32_at(valid.lengths.q_len, 1) = 3;
  valid.problem.q = valid.arena.tensor(RAPT_FP32, {2, 5, 4, 16});
  valid.problem.out = valid.arena.tensor(RAPT_FP32, {2, 5, 4, 8});
  valid.problem.lse = valid.arena.tensor(RAPT_FP32, {2, 4, 5});
  expect_refusal(valid.arena, "q: q_len is 5, the plan has 4", RAPT_INVALID_ARGUMENT, run);
}

}  // namespace
}  // namespace rapt
