// SPDX-License-Identifier: Apache-2.0 OR MIT
// A workload: a case's tensors in memory, filled from its seed, outputs and unused parts poisoned
// with NaN; or these and their copies on a device.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "kit/case.h"
#include "kit/device_memory.h"

namespace rapt::kit {

enum class Contents {
  values,  // tensors filled and poisoned
  none     // shapes and lengths only: data of floating-point tensors is null (explain, plan)
};

class Workload {
 public:
  // Elsewhere than on the host, tensors are copied byte for byte, and the problem is that of the
  // copies. Contents::none needs no device.
  explicit Workload(const Case& c, Contents contents = Contents::values, Place place = Place::host);
  ~Workload();
  Workload(const Workload&) = delete;
  Workload& operator=(const Workload&) = delete;

  [[nodiscard]] const Case& spec() const;
  // The C problem over this workload's memory, where a call is to find it; valid as long as the
  // workload.
  [[nodiscard]] const rapt_attention& attention() const;
  // The same over host memory.
  [[nodiscard]] const rapt_attention& host_attention() const;
  // Its gradient, for direction=backward; else without tensors.
  [[nodiscard]] const rapt_gradient& gradient() const;
  [[nodiscard]] const rapt_gradient& host_gradient() const;
  // Host lengths for upload.
  [[nodiscard]] const rapt_step& step() const;
  // Fills out, lse and gradients, gaps included, with NaN.
  void poison_outputs();
  // Waits for the device and copies what it has to the host, which everything below looks at.
  // Nothing to do for tensors of the host.
  void download();
  // Empty, or a sentence: something was written between the elements of an output, or an input
  // changed.
  [[nodiscard]] std::string stray_writes() const;
  // Bytes of the elements of all outputs, for comparing two runs bit by bit.
  [[nodiscard]] std::string output_bytes() const;

 private:
  struct Memory;
  std::unique_ptr<Memory> memory_;
};

// Verdict of one comparison with the float64 oracle, by the yardstick of docs/numerics.md: `ratio`
// is the error over what is allowed (pass: <= 1); `sentence` says what was wrong, "" when nothing.
struct Verdict {
  bool passed = false;
  double max_error = 0;  // absolute, against float64
  double ratio = 0;
  std::string sentence;

  // Keeps the first sentence.
  void fail(const std::string& what) {
    if (sentence.empty()) sentence = what;
  }
};

// What of an answer to compare: so many, evenly spread, or all where 0.
struct Sample {
  std::int64_t rows = 0;      // queries of a head
  std::int64_t kv_heads = 0;  // of a sequence, each with all query heads that read it
  std::int64_t sequences = 0;
};

// Compares out and lse with the oracle, and sees that nothing beside the outputs was written.
Verdict check(const Workload& workload, const Sample& sample = {});

// The same of the gradients of direction=backward, after its forward gave out and lse. Sampled rows
// are those of dq; dk, dv and what is summed over rows are then left out.
Verdict check_gradient(const Workload& workload, const Sample& sample = {});

}  // namespace rapt::kit
