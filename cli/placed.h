// SPDX-License-Identifier: Apache-2.0 OR MIT
// A problem over host tensors, computed where the options say: as it is, or over copies on a
// device.
#pragma once
#include <optional>

#include "kit/device_problem.h"
#include "rapt/rapt.h"

namespace rapt::cli {

enum class Part {
  shapes,  // enough to explain and to prepare, and needs no device
  tensors
};

class Placed {
 public:
  // Throws unsupported where tensors are wanted on a device that is not there.
  Placed(const rapt_attention& host, const rapt_options& options, Part part);

  [[nodiscard]] const rapt_attention& attention() const {
    return device_ ? device_->attention() : *host_;
  }
  // Waits for the answer; throws what the library refuses.
  void attend() const;
  // Brings the answer into the host's tensors.
  void download();

 private:
  const rapt_attention* host_;
  rapt_options options_;
  kit::Place place_;
  std::optional<kit::DeviceProblem> device_;
};

}  // namespace rapt::cli
