// SPDX-License-Identifier: Apache-2.0 OR MIT
// Attention, now: validate, choose, schedule, launch. And the questions that stop half-way.
#include <cstdlib>
#include <memory>
#include <vector>

#include "api/choose.h"
#include "api/say.h"
#include "api/validate.h"
#include "api/verbs.h"
#include "plan/schedule.h"

namespace rapt {
namespace {

constexpr std::size_t kAlignment = 64;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Workspace = std::unique_ptr<void, Free>;

Status allocate(std::size_t bytes, Workspace* workspace) {
  const std::size_t rounded = bytes / kAlignment * kAlignment + kAlignment;
  if (rounded > bytes) workspace->reset(std::aligned_alloc(kAlignment, rounded));
  if (*workspace != nullptr) return {};
  return out_of_memory(say("workspace: ", bytes, " bytes could not be allocated"));
}

Schedule schedule_of(const Problem& p, const std::vector<Sequence>& sequences, const Grain& grain) {
  std::vector<Extent> extents;
  extents.reserve(sequences.size());
  for (const Sequence& s : sequences) {
    extents.push_back({s.q_len, s.q_rows, s.kv_len, s.q_start - s.kv_start});
  }
  return make_schedule(extents, heads_of(p), band_of(p), grain);
}

// Shapes and options of a problem whose data need not be there.
Status validate_shapes(const rapt_attention* problem, const rapt_options* options, Problem* p,
                       Target* target) {
  RAPT_RETURN_IF_ERROR(validate(problem, Data::ignored, p));
  return validate_options(options, target);
}

}  // namespace

Status attend(const rapt_attention* problem, const rapt_options* options) {
  Problem p;
  Target target;
  std::vector<Sequence> sequences;
  RAPT_RETURN_IF_ERROR(validate(problem, Data::required, &p));
  RAPT_RETURN_IF_ERROR(validate_options(options, &target));
  if (p.device_kind == DeviceKind::cpu) RAPT_RETURN_IF_ERROR(resolve_sequences(p, &sequences));
  Choice choice;
  RAPT_RETURN_IF_ERROR(choose(backends(), p, target, &choice));
  const Schedule schedule = schedule_of(p, sequences, choice.grain);
  const std::size_t bytes =
      choice.backend->workspace_bytes(p, choice.kernel, schedule.partial_rows, target);
  Workspace workspace;
  RAPT_RETURN_IF_ERROR(allocate(bytes, &workspace));
  return choice.backend->forward(p, sequences, schedule, choice.kernel, workspace.get(), target);
}

Status attend_backward(const rapt_gradient* gradient, const rapt_options* options) {
  Problem p;
  Target target;
  std::vector<Sequence> sequences;
  RAPT_RETURN_IF_ERROR(validate_gradient(gradient, &p));
  RAPT_RETURN_IF_ERROR(validate_options(options, &target));
  if (p.device_kind == DeviceKind::cpu) RAPT_RETURN_IF_ERROR(resolve_sequences(p, &sequences));
  return unsupported("gradient: the backward kernels are not in this version of rapt");
}

Status prepare(const rapt_attention* problem, const rapt_options* options) {
  Problem p;
  Target target;
  Choice choice;
  RAPT_RETURN_IF_ERROR(validate_shapes(problem, options, &p, &target));
  RAPT_RETURN_IF_ERROR(choose(backends(), p, target, &choice));
  return choice.backend->load(p, choice.kernel, target);
}

Status explain(const rapt_attention* problem, const rapt_options* options, std::string* json) {
  Problem p;
  Target target;
  RAPT_RETURN_IF_ERROR(validate_shapes(problem, options, &p, &target));
  return explain(backends(), p, target, json);
}

}  // namespace rapt
