// SPDX-License-Identifier: Apache-2.0 OR MIT
// A problem over host tensors, and the same problem over copies of them on a device: every byte of
// their memory, gaps and poison included, at the same offsets from an allocation's begin.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "kit/device_memory.h"
#include "rapt/rapt.h"

namespace rapt::kit {

using Storage = std::vector<std::span<std::byte>>;

// The memory from the first to the last element of every tensor of a problem.
Storage storage_of(const rapt_attention& problem);
// With those of its gradient.
Storage storage_of(const rapt_gradient& gradient);

// A problem with groups of its own, whose tensors may be changed.
class ProblemCopy {
 public:
  explicit ProblemCopy(const rapt_attention& from);
  ProblemCopy(const ProblemCopy&) = delete;
  ProblemCopy& operator=(const ProblemCopy&) = delete;

  [[nodiscard]] const rapt_attention& attention() const { return attention_; }
  // Every tensor of a group that is on; those that are not given have no dtype.
  [[nodiscard]] std::vector<rapt_tensor*> tensors();

 private:
  rapt_attention attention_;
  float scale_ = 0;
  rapt_mask mask_{};
  rapt_softcap softcap_{};
  rapt_alibi alibi_{};
  rapt_bias bias_{};
  rapt_sinks sinks_{};
  rapt_dropout dropout_{};
  rapt_descale descale_{};
  rapt_ragged ragged_{};
  rapt_pages pages_{};
  rapt_lengths lengths_{};
  rapt_positions positions_{};
};

class DeviceProblem {
 public:
  // Uploads `storage`, which the problem's tensors lie in and which must outlive this. A tensor
  // that lies in none of it has no data on the device either; without storage no device is needed.
  DeviceProblem(const rapt_attention& host, const Storage& storage, Place place);

  [[nodiscard]] const rapt_attention& attention() const { return copy_.attention(); }
  // Any other view of the storage, on the device.
  [[nodiscard]] rapt_tensor moved(const rapt_tensor& host) const;
  // The gradient of the problem here, of views of the storage.
  [[nodiscard]] rapt_gradient moved(const rapt_gradient& host) const;

  // One of the storage's spans, or all of them.
  void upload(std::span<const std::byte> host);
  void upload();
  // Waits for the device, then copies everything back: inputs too, so that a change shows.
  void download();

 private:
  struct Mirror {
    std::span<std::byte> host;
    DeviceBuffer device;
  };

  Place place_;
  std::vector<Mirror> mirrors_;
  ProblemCopy copy_;
};

}  // namespace rapt::kit
