// SPDX-License-Identifier: Apache-2.0 OR MIT
// Running a case and making a failing one smaller.
#include "kit/attempt.h"

#include <cstddef>
#include <memory>
#include <vector>

#include "kit/cuda.h"
#include "kit/device_memory.h"

namespace rapt::kit {
namespace {

struct PlanFree {
  void operator()(rapt_plan* plan) const { rapt_plan_free(plan); }
};

// The problem's tensors, and so its workspace, are at `place`.
rapt_status run_planned(const Workload& workload, Place place, const rapt_options& options) {
  const rapt_attention& problem = workload.attention();
  rapt_plan* raw = nullptr;
  rapt_status status = rapt_plan_create(&problem, nullptr, &options, &raw);
  const std::unique_ptr<rapt_plan, PlanFree> plan(raw);
  if (status != RAPT_OK) return status;
  const std::size_t bytes = rapt_plan_workspace_bytes(raw);
  const DeviceBuffer workspace(memory_at(place), bytes);
  status = rapt_upload(raw, &workload.step(), workspace.data(), bytes, &options);
  if (status == RAPT_OK) status = rapt_run(raw, &problem, workspace.data(), bytes, &options);
  memory_at(place).synchronize();  // before plan and workspace go
  return status;
}

Verdict failed(const std::string& sentence) { return {false, 0, 0, sentence}; }

Attempt attempt_backward(Workload& workload, const rapt_options& options, std::int64_t rows) {
  const rapt_status status = rapt_attend_backward(&workload.gradient(), &options);
  if (status != RAPT_OK) return {status, failed(rapt_error_message())};
  workload.download();
  return {status, check_gradient(workload, {rows})};
}

Attempt attempt_there(const Case& c, Place place, const rapt_options& options, std::int64_t rows) {
  Workload workload(c, Contents::values, place);
  rapt_status status = rapt_attend(&workload.attention(), &options);
  if (status != RAPT_OK) return {status, failed(rapt_error_message())};
  if (c.direction == "backward") return attempt_backward(workload, options, rows);
  workload.download();
  const Verdict verdict = check(workload, {rows});
  if (!verdict.passed) return {status, verdict};
  const std::string direct = workload.output_bytes();
  workload.poison_outputs();
  status = run_planned(workload, place, options);
  if (status != RAPT_OK) {
    return {RAPT_OK, failed(std::string("plan: attend works, but ") + rapt_error_message())};
  }
  workload.download();
  if (workload.output_bytes() == direct) return {status, verdict};
  // Positions are known to a run but not to its plan, which then rules out no key that attend
  // would: the work may be divided elsewhere, and the bits may differ.
  if (c.positions && workload.attention().mask != nullptr) return {status, check(workload, {rows})};
  return {status, failed("plan: plan, upload and run do not give attend's bits")};
}

}  // namespace

Attempt attempt_at(Place place, const Case& c, const rapt_options& options, std::int64_t rows) {
  const std::string absent = why_absent(place);
  if (!absent.empty()) return {RAPT_UNSUPPORTED, failed(absent)};
  try {
    return attempt_there(c, place, options, rows);
  } catch (const DeviceError& error) {
    return {RAPT_DEVICE_ERROR, failed(error.what())};
  }
}

Attempt attempt(const Case& c, const rapt_options& options, std::int64_t rows) {
  return attempt_at(place_of(options), c, options, rows);
}

namespace {

using Change = void (*)(Case&);

// From the drastic to the small.
const Change kChanges[] = {
    [](Case& c) { c.batch = 1, c.q_lens.clear(), c.kv_lens.clear(); },
    [](Case& c) { c.q_heads = c.kv_heads = 1; },
    [](Case& c) { c.q_heads = c.kv_heads; },
    [](Case& c) { c.kv = "dense", c.layout = "page_head_dim", c.page_size = 0; },
    [](Case& c) { c.q = "dense", c.kv = c.kv == "ragged" ? "dense" : c.kv; },
    [](Case& c) { c.q_lens.clear(); },
    [](Case& c) { c.kv_lens.clear(); },
    [](Case& c) { c.left_pad = c.cache_row = false; },
    [](Case& c) { c.positions = false; },
    [](Case& c) { c.bias = "none", c.bias_dims = "bhq"; },
    [](Case& c) { c.alibi = "none"; },
    [](Case& c) { c.dropout = 0; },
    [](Case& c) { c.softcap = 0; },
    [](Case& c) { c.sinks = false; },
    [](Case& c) { c.scale = 0; },
    [](Case& c) { c.mask = "full", c.left = c.right = RAPT_UNBOUNDED; },
    [](Case& c) { c.sink_tokens = 0; },
    [](Case& c) { c.values = "normal"; },
    [](Case& c) { c.order = "bshd"; },
    [](Case& c) { c.out_dtype = c.dtype; },
    [](Case& c) { c.dtype = c.out_dtype = RAPT_FP32; },
    [](Case& c) { c.value_dim = c.head_dim; },
    [](Case& c) { c.head_dim = c.value_dim = 8; },
    [](Case& c) { c.head_dim = c.value_dim = (c.head_dim + 15) / 16 * 8; },
    [](Case& c) { c.lse = true; },
};

void halve(std::vector<std::int64_t>& lens) {
  for (std::int64_t& length : lens) length /= 2;
}

// Tried again and again, as long as they help.
const Change kHalvings[] = {
    [](Case& c) { c.kv_len /= 2, halve(c.kv_lens); },
    [](Case& c) { c.q_len /= 2, halve(c.q_lens); },
    [](Case& c) { c.kv_len -= c.kv_lens.empty() && c.kv_len > 0 ? 1 : 0; },
    [](Case& c) { c.q_len -= c.q_lens.empty() && c.q_len > 0 ? 1 : 0; },
};

}  // namespace

Case minimise(Case c, const std::function<bool(const Case&)>& fails, int budget) {
  const auto helps = [&](Change change) {
    Case simpler = c;
    change(simpler);
    if (print_case(simpler) == print_case(c) || budget-- <= 0 || !fails(simpler)) return false;
    c = simpler;
    return true;
  };
  for (const Change change : kChanges) helps(change);
  for (const Change change : kHalvings) {
    while (helps(change)) continue;
  }
  return c;
}

}  // namespace rapt::kit
