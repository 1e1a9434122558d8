// SPDX-License-Identifier: Apache-2.0 OR MIT
// A problem of a file, computed where the options say: over its own tensors, or over copies on a
// device.
#pragma once
#include <optional>
#include <string>

#include "cli/file_problem.h"
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
  Placed(const FileProblem& problem, const rapt_options& options, Part part);

  [[nodiscard]] const rapt_attention& attention() const {
    return device_ ? device_->attention() : *host_;
  }
  // Null where none is asked for.
  [[nodiscard]] const rapt_gradient* gradient() const { return gradient_ ? &*gradient_ : nullptr; }
  // These wait for the answer, and throw what the library refuses. A gradient comes after attend().
  void attend() const;
  void attend_backward() const;
  // Brings the answer into the host's tensors.
  void download();

 private:
  const rapt_attention* host_;
  rapt_options options_;
  kit::Place place_;
  std::optional<kit::DeviceProblem> device_;
  std::optional<rapt_gradient> gradient_;
};

// The name of the kernel that will answer: the backward's where a gradient is asked for. Throws
// what the library refuses without seeing tensors.
std::string prepare(const FileProblem& problem, const rapt_options& options);

}  // namespace rapt::cli
