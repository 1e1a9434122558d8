// SPDX-License-Identifier: Apache-2.0 OR MIT
// What kernel tables ask about this machine: its CUDA devices, and whether kernels can be had for
// them.
#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "backend/cuda/driver.h"
#include "backend/cuda/jit.h"
#include "refusal.h"

namespace rapt::cuda {

class Machine {
 public:
  // Both must outlive it.
  Machine(const Driver& driver, const Compiler& compiler);
  static const Machine& system();

  [[nodiscard]] const Driver& driver() const { return driver_; }

  // Why kernels cannot run on this device: no driver, no such device (`field` is on it), no
  // compiler.
  [[nodiscard]] Refusal refusal(int ordinal, const char* field = "q") const;

  // Where a device's kernels come from. Looked for once, when first asked.
  [[nodiscard]] const Means& means(int ordinal) const;

 private:
  struct Answer {
    std::once_flag once;
    Means means;
  };

  const Driver& driver_;
  const Compiler& compiler_;
  std::unique_ptr<Answer[]> answers_;  // [devices]
};

}  // namespace rapt::cuda
