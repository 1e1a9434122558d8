// SPDX-License-Identifier: Apache-2.0 OR MIT
// Plan, upload, run: the work of attend cut at the schedule. A plan follows from shapes and bounds,
// an upload from one step's lengths, and a run only compares what it is given with them and
// launches.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "api/choose.h"
#include "api/device_check.h"
#include "api/plan_match.h"
#include "api/say.h"
#include "api/sized.h"
#include "api/validate.h"
#include "api/verbs.h"
#include "plan/grid.h"
#include "plan/schedule.h"

struct rapt_plan {
  rapt::Problem problem;  // shapes and groups as planned; its pointers only say what was given
  rapt::StepBounds bounds;
  rapt::Choice choice;
  std::int64_t partial_rows = 0;
  std::size_t workspace_bytes = 0;

  // The step uploaded last.
  bool uploaded = false;
  void* workspace = nullptr;
  std::vector<rapt::Extent> extents;
  rapt::Schedule schedule;

  // Room for a run to resolve its sequences; two runs of one plan must not overlap in time.
  mutable std::vector<rapt::Sequence> sequences;
};

namespace rapt {
namespace {

constexpr std::uintptr_t kAlignment = 64;

// The planned problem grown to its bounds: what workspace is measured for.
Problem largest(const Problem& problem, const StepBounds& bounds) {
  Problem p = problem;
  p.batch = bounds.batch;
  p.q_len = bounds.q_len;
  p.kv_len = bounds.kv_len;
  p.q_tokens = bounds.q_tokens;
  p.kv_tokens = p.batch * p.kv_len;  // fits: validate_bounds
  return p;
}

// Lengths and where they come from when the caller gives none.
struct Side {
  const char* field;
  const std::int64_t* lengths;
  bool ragged;
  std::int64_t from_shape;
  std::int64_t most;
};

Status step_length(const Side& side, std::int64_t batch, std::int64_t b, std::int64_t* length) {
  if (side.lengths == nullptr && side.ragged && batch != 1) {
    return invalid(say(side.field, ": is null; a ragged problem's shapes do not say its lengths"));
  }
  *length = side.lengths == nullptr ? side.from_shape : side.lengths[b];
  if (*length < 0) {
    return invalid(say(side.field, ": sequence ", b, " is ", *length, "; must be 0 or more"));
  }
  if (*length <= side.most) return {};
  return invalid(say(side.field, ": sequence ", b, " is ", *length, ", the plan has ", side.most));
}

Status read_step(const rapt_plan& plan, const rapt_step& step, std::vector<Extent>* extents) {
  const Problem& p = plan.problem;
  const StepBounds& most = plan.bounds;
  const std::int64_t batch = step.batch == 0 ? most.batch : step.batch;
  if (batch < 0) return invalid(say("step.batch: is ", batch, "; must be 0 or more"));
  if (batch > most.batch)
    return invalid(say("step.batch: is ", batch, ", the plan has ", most.batch));
  const Side q = {"step.q_len", step.q_len, p.q_offsets.data != nullptr, p.q_len, most.q_len};
  const Side kv = {"step.kv_len", step.kv_len, p.kv_offsets.data != nullptr, p.kv_len, most.kv_len};
  std::int64_t tokens = 0;
  for (std::int64_t b = 0; b < batch; ++b) {
    Extent e;
    RAPT_RETURN_IF_ERROR(step_length(q, batch, b, &e.q_len));
    RAPT_RETURN_IF_ERROR(step_length(kv, batch, b, &e.kv_len));
    e.q_rows = p.q_used.data != nullptr ? p.q_len : e.q_len;
    e.diagonal = e.kv_len - e.q_len;
    tokens = saturating_add(tokens, e.q_rows);
    extents->push_back(e);
  }
  if (tokens <= most.q_tokens) return {};
  return invalid(say("step.q_len: has ", tokens, " tokens, the plan has ", most.q_tokens));
}

Status check_workspace(const rapt_plan& plan, const void* workspace, std::size_t bytes) {
  if (bytes < plan.workspace_bytes) {
    return invalid(say("workspace_bytes: is ", bytes, ", the plan needs ", plan.workspace_bytes));
  }
  if (workspace == nullptr && plan.workspace_bytes > 0) return invalid("workspace: is null");
  if (reinterpret_cast<std::uintptr_t>(workspace) % kAlignment == 0) return {};
  return invalid(say("workspace: is not aligned to ", kAlignment, " bytes"));
}

// Where positions are given, only a run knows them: then no key is ruled out ahead.
Band planned_band(const Problem& p) {
  const bool moved = p.q_start.data != nullptr || p.kv_start.data != nullptr;
  return moved ? Band{} : band_of(p);
}

// Options of a later call may change threads and stream, not what the plan chose. Does not
// allocate.
Status read_later_options(const rapt_plan& plan, const rapt_options* options, Target* target) {
  rapt_options o = {};
  if (options != nullptr) RAPT_RETURN_IF_ERROR(read_sized("options", options, &o));
  o.struct_size = sizeof o;
  const std::string_view kernel = plan.choice.kernel_name();
  if (o.kernel != nullptr && kernel != o.kernel) {
    return invalid(say("options.kernel: is ", o.kernel, ", the plan has ", kernel));
  }
  o.kernel = nullptr;
  RAPT_RETURN_IF_ERROR(validate_options(&o, target));
  const std::string_view backend = plan.choice.backend->name();
  if (target->backend.empty() || target->backend == backend) return {};
  return invalid(say("options.backend: is ", target->backend, ", the plan has ", backend));
}

// More threads than planned for want more workspace.
Status check_threads(const rapt_plan& plan, const Target& target) {
  const std::size_t bytes = plan.choice.backend->workspace_bytes(
      largest(plan.problem, plan.bounds), plan.choice.kernel, plan.partial_rows, target);
  if (bytes <= plan.workspace_bytes) return {};
  return invalid(say("options.threads: want a workspace of ", bytes, " bytes, the plan has ",
                     plan.workspace_bytes));
}

bool on_host(const rapt_plan& plan) { return plan.problem.device_kind == DeviceKind::cpu; }

// A device's grid follows from the bounds alone, so that a captured graph stays valid.
Schedule grid_of(const rapt_plan& plan) {
  return grid_schedule(plan.bounds, heads_of(plan.problem), plan.choice.grain);
}

Schedule schedule_of(const rapt_plan& plan, const std::vector<Extent>& extents) {
  const Problem& p = plan.problem;
  if (!on_host(plan)) return grid_of(plan);
  return make_schedule(extents, heads_of(p), planned_band(p), plan.choice.grain);
}

// From here on the plan serves this step; until here it served the one before.
Status keep_step(rapt_plan* plan, std::vector<Extent> extents, Schedule schedule, void* workspace) {
  if (schedule.partial_rows > plan->partial_rows) {
    return internal("plan: a step within its bounds wants more partial rows than were planned");
  }
  plan->sequences.reserve(extents.size());
  plan->extents = std::move(extents);
  plan->schedule = std::move(schedule);
  plan->workspace = workspace;
  plan->uploaded = true;
  return {};
}

}  // namespace

Status plan_create(const rapt_attention* problem, const rapt_bounds* bounds,
                   const rapt_options* options, rapt_plan** plan) {
  if (plan == nullptr) return invalid("plan: is null");
  *plan = nullptr;
  auto made = std::make_unique<rapt_plan>();
  Target target;
  RAPT_RETURN_IF_ERROR(validate(problem, Data::ignored, &made->problem));
  RAPT_RETURN_IF_ERROR(validate_bounds(bounds, made->problem, &made->bounds));
  RAPT_RETURN_IF_ERROR(validate_options(options, &target));
  const Problem most = largest(made->problem, made->bounds);
  RAPT_RETURN_IF_ERROR(choose(backends(), most, target, &made->choice));
  made->partial_rows =
      on_host(*made)
          ? schedule_bounds(made->bounds, heads_of(most), made->choice.grain).partial_rows
          : grid_of(*made).partial_rows;
  made->workspace_bytes =
      made->choice.backend->workspace_bytes(most, made->choice.kernel, made->partial_rows, target);
  *plan = made.release();
  return {};
}

void plan_free(rapt_plan* plan) { delete plan; }

std::size_t plan_workspace_bytes(const rapt_plan* plan) {
  return plan == nullptr ? 0 : plan->workspace_bytes;
}

const char* plan_kernel(const rapt_plan* plan) {
  return plan == nullptr ? "" : plan->choice.kernel_name();
}

Status upload(rapt_plan* plan, const rapt_step* step, void* workspace, std::size_t workspace_bytes,
              const rapt_options* options) {
  if (plan == nullptr) return invalid("plan: is null");
  rapt_step s = {};
  if (step != nullptr) RAPT_RETURN_IF_ERROR(read_sized("step", step, &s));
  Target target;
  std::vector<Extent> extents;
  RAPT_RETURN_IF_ERROR(read_step(*plan, s, &extents));
  RAPT_RETURN_IF_ERROR(check_workspace(*plan, workspace, workspace_bytes));
  RAPT_RETURN_IF_ERROR(read_later_options(*plan, options, &target));
  RAPT_RETURN_IF_ERROR(check_threads(*plan, target));
  Schedule schedule = schedule_of(*plan, extents);
  RAPT_RETURN_IF_ERROR(
      plan->choice.backend->load(plan->problem, plan->choice.kernel, schedule, target));
  return keep_step(plan, std::move(extents), std::move(schedule), workspace);
}

Status run(const rapt_plan* plan, const rapt_attention* problem, void* workspace,
           std::size_t workspace_bytes, const rapt_options* options) {
  if (plan == nullptr) return invalid("plan: is null");
  if (!plan->uploaded) return invalid("plan: was never uploaded");
  RAPT_RETURN_IF_ERROR(check_workspace(*plan, workspace, workspace_bytes));
  if (workspace != plan->workspace) return invalid("workspace: is not the one uploaded");
  Target target;
  RAPT_RETURN_IF_ERROR(read_later_options(*plan, options, &target));
  RAPT_RETURN_IF_ERROR(check_threads(*plan, target));
  Problem p;
  RAPT_RETURN_IF_ERROR(validate(problem, Data::required, &p));
  RAPT_RETURN_IF_ERROR(match_problem(plan->problem, p));
  RAPT_RETURN_IF_ERROR(match_batch(plan->extents.size(), p));
  if (on_host(*plan)) {
    RAPT_RETURN_IF_ERROR(resolve_sequences(p, &plan->sequences));
    RAPT_RETURN_IF_ERROR(match_lengths(plan->extents, p, plan->sequences));
  } else {
    RAPT_RETURN_IF_ERROR(match_bounds(plan->bounds, p));
    RAPT_RETURN_IF_ERROR(check_on_device(p, *plan->choice.backend, target, &plan->sequences));
  }
  return plan->choice.backend->forward(p, plan->sequences, plan->schedule, plan->choice.kernel,
                                       workspace, target);
}

}  // namespace rapt
