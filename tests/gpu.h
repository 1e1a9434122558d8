// SPDX-License-Identifier: Apache-2.0 OR MIT
// What tests on a CUDA device share. Without a device that rapt runs on they are skipped, and the
// reason says why; ./test --gpu counts that as a failure.
#pragma once
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kit/cases.h"
#include "kit/cuda.h"
#include "kit/device_memory.h"
#include "kit/workload.h"
#include "rapt/rapt.h"

namespace rapt::kit {

template <class Base>
class OnGpu : public Base {
 protected:
  void SetUp() override {
    const std::string absent = why_absent(Place::cuda);
    if (!absent.empty()) GTEST_SKIP() << absent;
  }
};

inline rapt_options on_cuda(void* stream = nullptr) {
  rapt_options options{};
  options.struct_size = sizeof options;
  options.backend = "cuda";
  options.stream = stream;
  return options;
}

// Tensors of the case on the device.
struct GpuWorkload : Workload {
  explicit GpuWorkload(const std::string& text)
      : Workload(case_of(text), Contents::values, Place::cuda) {}
};

inline void attend(const Workload& workload, void* stream = nullptr) {
  const rapt_options options = on_cuda(stream);
  ASSERT_EQ(rapt_attend(&workload.attention(), &options), RAPT_OK) << rapt_error_message();
}

// The bits of out and lse when everything queued is done.
inline std::string answer(Workload& workload) {
  workload.download();
  return workload.output_bytes();
}

// A plan of a workload's problem with its workspace, uploaded.
class GpuPlan {
 public:
  explicit GpuPlan(const Workload& workload, void* stream = nullptr) : options_(on_cuda(stream)) {
    status_ = rapt_plan_create(&workload.attention(), nullptr, &options_, &plan_);
    if (status_ != RAPT_OK) return;
    bytes_ = rapt_plan_workspace_bytes(plan_);
    workspace_ = cuda::allocate(bytes_);
    status_ = upload(workload);
  }
  ~GpuPlan() {
    rapt_plan_free(plan_);
    cuda::release(workspace_);
  }
  GpuPlan(const GpuPlan&) = delete;
  GpuPlan& operator=(const GpuPlan&) = delete;

  [[nodiscard]] rapt_status status() const { return status_; }  // of making and uploading it
  // The lengths of this workload.
  [[nodiscard]] rapt_status upload(const Workload& workload) {
    return rapt_upload(plan_, &workload.step(), workspace_, bytes_, &options_);
  }
  [[nodiscard]] rapt_status run(const Workload& workload) const {
    return rapt_run(plan_, &workload.attention(), workspace_, bytes_, &options_);
  }

 private:
  rapt_options options_;
  rapt_plan* plan_ = nullptr;
  void* workspace_ = nullptr;
  std::size_t bytes_ = 0;
  rapt_status status_ = RAPT_OK;
};

// Every kernel of the CUDA table.
inline std::vector<std::string> cuda_kernels() {
  const Workload workload(Case{}, Contents::none, Place::cuda);
  const rapt_options options = on_cuda();
  std::vector<char> text(1 << 16);
  if (rapt_explain(&workload.attention(), &options, text.data(), text.size(), nullptr) != RAPT_OK) {
    return {};
  }
  const auto answer = nlohmann::json::parse(text.data());
  std::vector<std::string> names;
  const auto add = [&names](const std::string& name) {
    if (name.rfind("cuda/", 0) == 0) names.push_back(name);
  };
  if (answer["chosen"].is_string()) add(answer["chosen"]);
  for (const auto& other : answer["refused"]) add(other["kernel"]);
  return names;
}

}  // namespace rapt::kit
