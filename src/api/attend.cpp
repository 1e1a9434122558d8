// SPDX-License-Identifier: Apache-2.0 OR MIT
// Attention, now: validate, choose, schedule, launch. And the questions that stop half-way.
#include <vector>

#include "api/choose.h"
#include "api/device_check.h"
#include "api/say.h"
#include "api/validate.h"
#include "api/verbs.h"
#include "plan/gradient_schedule.h"
#include "plan/grid.h"
#include "plan/schedule.h"

namespace rapt {
namespace {

// A problem's workspace, for the length of one call.
class Workspace {
 public:
  Workspace(const Backend& backend, const Problem& problem, const Target& target)
      : backend_(backend), problem_(problem), target_(target) {}
  ~Workspace() {
    if (memory_ != nullptr) backend_.release(problem_, memory_, target_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  Status allocate(std::size_t bytes) {
    return backend_.allocate(problem_, bytes, target_, &memory_);
  }
  [[nodiscard]] void* memory() const { return memory_; }

 private:
  const Backend& backend_;
  const Problem& problem_;
  const Target& target_;
  void* memory_ = nullptr;
};

std::vector<Extent> extents_of(const std::vector<Sequence>& sequences) {
  std::vector<Extent> extents;
  extents.reserve(sequences.size());
  for (const Sequence& s : sequences) {
    extents.push_back({s.q_len, s.q_rows, s.kv_len, s.q_start - s.kv_start});
  }
  return extents;
}

// The host reads the lengths of problems in its memory; a device reads its own.
Schedule schedule_of(const Problem& p, const std::vector<Sequence>& sequences, const Grain& grain) {
  if (p.device_kind != DeviceKind::cpu) {
    return grid_schedule({p.batch, p.q_tokens, p.q_len, p.kv_len}, heads_of(p), grain);
  }
  return make_schedule(extents_of(sequences), heads_of(p), band_of(p), grain);
}

SharedBias shared_bias(const Gradient& g) {
  if (g.d_bias == nullptr) return {};
  return {g.d_bias_strides[0] == 0, g.d_bias_strides[1] == 0};
}

// Empty for a device, as above.
GradientSchedule schedule_of(const Gradient& g, const std::vector<Sequence>& sequences,
                             const Grain& grain) {
  const Problem& p = g.forward;
  if (p.device_kind != DeviceKind::cpu) return {};
  return gradient_schedule(extents_of(sequences), heads_of(p), band_of(p), grain, shared_bias(g));
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
  RAPT_RETURN_IF_ERROR(check_on_device(p, *choice.backend, target, &sequences));
  const Schedule schedule = schedule_of(p, sequences, choice.grain);
  const std::size_t bytes =
      choice.backend->workspace_bytes(p, choice.kernel, schedule.partial_rows, target);
  Workspace workspace(*choice.backend, p, target);
  RAPT_RETURN_IF_ERROR(workspace.allocate(bytes));
  return choice.backend->forward(p, sequences, schedule, choice.kernel, workspace.memory(), target);
}

Status attend_backward(const rapt_gradient* gradient, const rapt_options* options) {
  Gradient g;
  Target target;
  std::vector<Sequence> sequences;
  const Problem& p = g.forward;
  RAPT_RETURN_IF_ERROR(validate_gradient(gradient, Data::required, &g));
  RAPT_RETURN_IF_ERROR(validate_options(options, &target));
  if (p.device_kind == DeviceKind::cpu) RAPT_RETURN_IF_ERROR(resolve_sequences(p, &sequences));
  Choice choice;
  RAPT_RETURN_IF_ERROR(choose_backward(backends(), g, target, &choice));
  RAPT_RETURN_IF_ERROR(check_on_device(p, *choice.backend, target, &sequences));
  RAPT_RETURN_IF_ERROR(check_rows_apart(p, sequences));
  const GradientSchedule schedule = schedule_of(g, sequences, choice.grain);
  Workspace workspace(*choice.backend, p, target);
  RAPT_RETURN_IF_ERROR(workspace.allocate(
      choice.backend->gradient_workspace_bytes(g, schedule, choice.kernel, target)));
  return choice.backend->backward(g, sequences, schedule, choice.kernel, workspace.memory(),
                                  target);
}

Status prepare(const rapt_attention* problem, const rapt_options* options) {
  Problem p;
  Target target;
  Choice choice;
  RAPT_RETURN_IF_ERROR(validate_shapes(problem, options, &p, &target));
  RAPT_RETURN_IF_ERROR(choose(backends(), p, target, &choice));
  return choice.backend->prepare(p, choice.kernel, schedule_of(p, {}, choice.grain), target);
}

Status explain(const rapt_attention* problem, const rapt_options* options, std::string* json) {
  Problem p;
  Target target;
  RAPT_RETURN_IF_ERROR(validate_shapes(problem, options, &p, &target));
  return explain(backends(), p, target, json);
}

Status explain_backward(const rapt_gradient* gradient, const rapt_options* options,
                        std::string* json) {
  Gradient g;
  Target target;
  RAPT_RETURN_IF_ERROR(validate_gradient(gradient, Data::ignored, &g));
  RAPT_RETURN_IF_ERROR(validate_options(options, &target));
  return explain_backward(backends(), g, target, json);
}

}  // namespace rapt
