// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tensors that exist twice, on the host and on the device, for verbs that must give the same there.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "backend/cpu/convert.h"
#include "kit/cuda.h"
#include "kit/device_memory.h"
#include "kit/random.h"
#include "rapt/rapt.h"

namespace rapt::kit {

using Shape = std::vector<std::int64_t>;

// The same values on the host and on the device.
template <class T>
class Twin {
 public:
  Twin(rapt_dtype dtype, const Shape& shape, std::vector<T> values)
      : dtype_(dtype),
        shape_(shape),
        host_(std::move(values)),
        device_(memory_at(Place::cuda), bytes()) {
    cuda::copy_in(device_.data(), host_.data(), bytes());
    cuda::synchronize();
  }

  rapt_tensor at(Place place) {
    const bool on_host = place == Place::host;
    rapt_tensor t = rapt_packed(on_host ? host_.data() : device_.data(), dtype_,
                                static_cast<std::int32_t>(shape_.size()), shape_.data());
    t.device_kind = on_host ? RAPT_CPU : RAPT_CUDA;
    return t;
  }

  // The largest difference between the two, of numbers beyond 1 as a share of them.
  [[nodiscard]] double difference() const {
    std::vector<T> copy(host_.size());
    cuda::synchronize();
    cuda::copy_out(copy.data(), device_.data(), bytes());
    double most = 0;
    for (std::size_t n = 0; n < copy.size(); ++n) {
      if (copy[n] == host_[n]) continue;  // infinities too
      const double wanted = value(host_[n]);
      const double apart = std::fabs(value(copy[n]) - wanted) / std::max(1.0, std::fabs(wanted));
      most = std::isnan(apart) ? INFINITY : std::max(most, apart);
    }
    return most;
  }

 private:
  [[nodiscard]] std::size_t bytes() const { return host_.size() * sizeof(T); }
  [[nodiscard]] double value(T stored) const {
    if (dtype_ == RAPT_FP16) return cpu::fp16_to_float(static_cast<std::uint16_t>(stored));
    if (dtype_ == RAPT_BF16) return cpu::bf16_to_float(static_cast<std::uint16_t>(stored));
    return static_cast<double>(stored);
  }

  rapt_dtype dtype_;
  Shape shape_;
  std::vector<T> host_;
  DeviceBuffer device_;
};

inline Twin<float> floats(const Shape& shape, std::uint64_t stream) {
  std::int64_t count = 1;
  for (const std::int64_t n : shape) count *= n;
  Random random(7, stream);
  std::vector<float> values;
  for (std::int64_t n = 0; n < count; ++n) values.push_back(static_cast<float>(random.normal()));
  return {RAPT_FP32, shape, values};
}

// FP16 or BF16 as bits.
inline Twin<std::uint16_t> halves(rapt_dtype dtype, const Shape& shape, std::uint64_t stream) {
  std::int64_t count = 1;
  for (const std::int64_t n : shape) count *= n;
  Random random(7, stream);
  std::vector<std::uint16_t> values;
  for (std::int64_t n = 0; n < count; ++n) {
    const auto value = static_cast<float>(random.normal());
    values.push_back(dtype == RAPT_FP16 ? cpu::Fp16::store(value) : cpu::Bf16::store(value));
  }
  return {dtype, shape, values};
}

inline Twin<std::int64_t> integers(const Shape& shape, std::vector<std::int64_t> values) {
  return {RAPT_INT64, shape, std::move(values)};
}

}  // namespace rapt::kit
