// SPDX-License-Identifier: Apache-2.0 OR MIT
// The verdict on any problem's answer, whoever made its tensors: its error against the float64
// oracle, measured by the error that plain FP32 attention makes on the same input
// (docs/numerics.md).
#pragma once
#include <memory>

#include "kit/workload.h"
#include "rapt/rapt.h"

namespace rapt::kit {

// Compares out and lse with the oracle.
Verdict check(const rapt_attention& problem, const Sample& sample = {});

// What the gradients of a problem are held against, whose forward's out and lse are taken as they
// are: most of the work of a check, done once for the answers of any number of kernels.
class GradientTruth {
 public:
  explicit GradientTruth(const rapt_gradient& gradient, const Sample& sample = {});
  ~GradientTruth();
  GradientTruth(const GradientTruth&) = delete;
  GradientTruth& operator=(const GradientTruth&) = delete;

  [[nodiscard]] Verdict judge(const rapt_gradient& answer) const;

  struct Parts;

 private:
  std::unique_ptr<Parts> parts_;
};

// The gradients of direction=backward, and that nothing beside them was written.
Verdict check_gradient(const Workload& workload, const GradientTruth& truth);

}  // namespace rapt::kit
