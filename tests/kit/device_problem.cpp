// SPDX-License-Identifier: Apache-2.0 OR MIT
// The one list of a problem's tensors, and their copies.
#include "kit/device_problem.h"

#include <array>

namespace rapt::kit {
namespace {

template <class Group>
void own(const Group*& group, Group& copy) {
  if (group == nullptr) return;
  copy = *group;
  group = &copy;
}

std::size_t bytes_spanned(const rapt_tensor& view) {
  std::int64_t last = 0;
  for (std::int32_t d = 0; d < view.rank; ++d) {
    if (view.shape[d] == 0) return 0;
    last += (view.shape[d] - 1) * view.strides[d];
  }
  return static_cast<std::size_t>(last + 1) * rapt_dtype_bytes(view.dtype);
}

void add_storage(const rapt_tensor& view, Storage& storage) {
  if (view.dtype == RAPT_NONE || view.data == nullptr) return;
  storage.emplace_back(static_cast<std::byte*>(view.data), bytes_spanned(view));
}

std::array<rapt_tensor*, 7> tensors_of(rapt_gradient& g) {
  return {&g.d_out, &g.dq, &g.dk, &g.dv, &g.d_bias, &g.d_sinks, &g.d_slopes};
}

}  // namespace

ProblemCopy::ProblemCopy(const rapt_attention& from) : attention_(from) {
  own(attention_.scale, scale_);
  own(attention_.mask, mask_);
  own(attention_.softcap, softcap_);
  own(attention_.alibi, alibi_);
  own(attention_.bias, bias_);
  own(attention_.sinks, sinks_);
  own(attention_.dropout, dropout_);
  own(attention_.descale, descale_);
  own(attention_.ragged, ragged_);
  own(attention_.pages, pages_);
  own(attention_.lengths, lengths_);
  own(attention_.positions, positions_);
}

std::vector<rapt_tensor*> ProblemCopy::tensors() {
  return {&attention_.q,       &attention_.k,      &attention_.v,       &attention_.out,
          &attention_.lse,     &alibi_.slopes,     &bias_.bias,         &sinks_.sinks,
          &descale_.q,         &descale_.k,        &descale_.v,         &ragged_.q_offsets,
          &ragged_.kv_offsets, &pages_.table,      &lengths_.q_len,     &lengths_.kv_len,
          &lengths_.cache_row, &lengths_.left_pad, &positions_.q_start, &positions_.kv_start};
}

Storage storage_of(const rapt_attention& problem) {
  ProblemCopy copy(problem);
  Storage storage;
  for (const rapt_tensor* t : copy.tensors()) add_storage(*t, storage);
  return storage;
}

Storage storage_of(const rapt_gradient& gradient) {
  rapt_gradient copy = gradient;
  Storage storage = storage_of(*gradient.forward);
  for (const rapt_tensor* t : tensors_of(copy)) add_storage(*t, storage);
  return storage;
}

DeviceProblem::DeviceProblem(const rapt_attention& host, const Storage& storage, Place place)
    : place_(place), copy_(host) {
  for (const std::span<std::byte> memory : storage) {
    if (memory.empty()) continue;
    mirrors_.push_back({memory, DeviceBuffer(memory_at(place), memory.size())});
  }
  for (rapt_tensor* t : copy_.tensors()) *t = moved(*t);
  if (!mirrors_.empty()) upload();
}

rapt_tensor DeviceProblem::moved(const rapt_tensor& host) const {
  rapt_tensor view = host;
  if (view.dtype == RAPT_NONE) return view;
  view.device_kind = memory_at(place_).kind();
  view.data = nullptr;
  const auto* data = static_cast<const std::byte*>(host.data);
  for (const Mirror& m : mirrors_) {
    if (data < m.host.data() || data >= m.host.data() + m.host.size()) continue;
    view.data = static_cast<std::byte*>(m.device.data()) + (data - m.host.data());
  }
  return view;
}

rapt_gradient DeviceProblem::moved(const rapt_gradient& host) const {
  rapt_gradient gradient = host;
  gradient.forward = &attention();
  for (rapt_tensor* t : tensors_of(gradient)) *t = moved(*t);
  return gradient;
}

// A copy may still be under way when it returns, and streams that do not wait for it would read old
// bytes.
void DeviceProblem::upload(std::span<const std::byte> host) {
  for (const Mirror& m : mirrors_) {
    if (m.host.data() != host.data()) continue;
    memory_at(place_).copy_in(m.device.data(), m.host.data(), m.host.size());
  }
  memory_at(place_).synchronize();
}

void DeviceProblem::upload() {
  for (const Mirror& m : mirrors_) {
    memory_at(place_).copy_in(m.device.data(), m.host.data(), m.host.size());
  }
  memory_at(place_).synchronize();
}

void DeviceProblem::download() {
  memory_at(place_).synchronize();
  for (const Mirror& m : mirrors_) {
    memory_at(place_).copy_out(m.host.data(), m.device.data(), m.host.size());
  }
}

}  // namespace rapt::kit
