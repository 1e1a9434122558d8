// SPDX-License-Identifier: Apache-2.0 OR MIT
// Problems on the stand-in's device: host tensors that say they are on a CUDA device.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "gpu.h"
#include "kit/cases.h"
#include "kit/device_problem.h"
#include "kit/workload.h"
#include "rapt/rapt.h"

namespace rapt::kit {

class OnStandIn {
 public:
  explicit OnStandIn(const std::string& text)
      : workload_(case_of(text)), copy_(workload_.attention()) {
    for (rapt_tensor* tensor : copy_.tensors()) tensor->device_kind = RAPT_CUDA;
  }

  [[nodiscard]] const rapt_attention& attention() const { return copy_.attention(); }
  [[nodiscard]] const rapt_step& step() const { return workload_.step(); }

 private:
  Workload workload_;
  ProblemCopy copy_;
};

// A plan of a problem, with its workspace.
class Plan {
 public:
  explicit Plan(const OnStandIn& problem) {
    const rapt_options options = on_cuda();
    EXPECT_EQ(rapt_plan_create(&problem.attention(), nullptr, &options, &plan_), RAPT_OK)
        << rapt_error_message();
    bytes_ = rapt_plan_workspace_bytes(plan_);
    workspace_ = std::aligned_alloc(64, bytes_ / 64 * 64 + 64);
  }
  // Uploaded too.
  Plan(const OnStandIn& problem, const rapt_options& options) : Plan(problem) {
    EXPECT_EQ(upload(problem, options), RAPT_OK) << rapt_error_message();
  }
  ~Plan() {
    rapt_plan_free(plan_);
    std::free(workspace_);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  [[nodiscard]] const char* kernel() const { return rapt_plan_kernel(plan_); }
  [[nodiscard]] rapt_status upload(const OnStandIn& problem, const rapt_options& options) {
    return rapt_upload(plan_, &problem.step(), workspace_, bytes_, &options);
  }
  [[nodiscard]] rapt_status run(const OnStandIn& problem, const rapt_options& options) const {
    return rapt_run(plan_, &problem.attention(), workspace_, bytes_, &options);
  }

 private:
  rapt_plan* plan_ = nullptr;
  void* workspace_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace rapt::kit
