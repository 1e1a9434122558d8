// SPDX-License-Identifier: Apache-2.0 OR MIT
// Brings indices home, as they will be when all that is queued so far is done.
#include "api/device_check.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "api/environment.h"
#include "api/validate.h"

namespace rapt {
namespace {

// Copies of a device's vectors in host memory, for as long as it lives.
class HostCopies {
 public:
  HostCopies(const Backend& backend, std::int32_t device_index, const Target& target)
      : backend_(backend), device_index_(device_index), target_(target) {}

  // Points at a copy of `elements` elements instead.
  template <typename T>
  Status fetch(const T** data, std::int64_t elements) {
    const void* copy = nullptr;
    RAPT_RETURN_IF_ERROR(fetch_bytes(*data, elements * std::int64_t{sizeof(T)}, &copy));
    *data = static_cast<const T*>(copy);
    return {};
  }

  // The same for a vector of `count` entries, which may not be given.
  Status fetch(Indices* indices, std::int64_t count) {
    const auto bytes = rapt_dtype_bytes(static_cast<rapt_dtype>(indices->dtype));
    const std::int64_t elements = count == 0 ? 0 : (count - 1) * indices->stride + 1;
    return fetch_bytes(indices->data, elements * static_cast<std::int64_t>(bytes), &indices->data);
  }

 private:
  Status fetch_bytes(const void* from, std::int64_t bytes, const void** copy) {
    if (from == nullptr || bytes == 0) return {};
    std::vector<std::byte>& memory = memory_.emplace_back(static_cast<std::size_t>(bytes));
    *copy = memory.data();
    return backend_.read_back(device_index_, from, memory, target_);
  }

  const Backend& backend_;
  std::int32_t device_index_;
  const Target& target_;
  std::deque<std::vector<std::byte>> memory_;
};

bool wanted(DeviceKind kind) { return kind != DeviceKind::cpu && environment().check; }

}  // namespace

Status check_on_device(const Problem& problem, const Backend& backend, const Target& target,
                       std::vector<Sequence>* sequences) {
  if (!wanted(problem.device_kind)) return {};
  HostCopies copies(backend, problem.device_index, target);
  Problem p = problem;
  for (Indices* offsets : {&p.q_offsets, &p.kv_offsets}) {
    RAPT_RETURN_IF_ERROR(copies.fetch(offsets, p.batch + 1));
  }
  for (Indices* vector :
       {&p.q_used, &p.kv_used, &p.cache_row, &p.left_pad, &p.q_start, &p.kv_start}) {
    RAPT_RETURN_IF_ERROR(copies.fetch(vector, p.batch));
  }
  if (p.page_size > 0 && p.batch > 0) {
    const std::int64_t entries = (p.batch - 1) * p.page_table_stride + p.max_pages;
    RAPT_RETURN_IF_ERROR(copies.fetch(&p.page_table, entries));
  }
  return resolve_sequences(p, sequences);
}

Status check_on_device(const AppendJob& job, const Backend& backend, const Target& target) {
  if (!wanted(job.device_kind)) return {};
  HostCopies copies(backend, job.device_index, target);
  AppendJob host = job;
  RAPT_RETURN_IF_ERROR(copies.fetch(&host.slots, job.tokens));
  RAPT_RETURN_IF_ERROR(copies.fetch(&host.rope.positions, job.tokens));
  return check_appended(host);
}

Status check_on_device(const PageJob& job, Status (*check)(const PageJob&), const Backend& backend,
                       const Target& target) {
  if (!wanted(job.index_kind) || job.count == 0) return {};
  HostCopies copies(backend, job.device_index, target);
  PageJob host = job;
  const std::int64_t last = (job.count - 1) * job.index_stride;
  if (job.sources == nullptr) {
    RAPT_RETURN_IF_ERROR(copies.fetch(&host.targets, last + 1));
    return check(host);
  }
  RAPT_RETURN_IF_ERROR(copies.fetch(&host.sources, last + 2));  // pairs
  host.targets = host.sources + 1;
  return check(host);
}

}  // namespace rapt
