// SPDX-License-Identifier: Apache-2.0 OR MIT
// The C structs over a case's tensors, where these live, and the watch over what a call may have
// touched.
#include "kit/workload.h"

#include <cstring>
#include <optional>
#include <vector>

#include "kit/device_problem.h"
#include "kit/numbers.h"
#include "kit/tensors.h"

namespace rapt::kit {

struct Workload::Memory : Tensors {
  std::uint64_t inputs_hash = 0;

  float scale = 0;
  rapt_mask mask{};
  rapt_softcap softcap{};
  rapt_alibi alibi{};
  rapt_bias bias_group{};
  rapt_sinks sinks_group{};
  rapt_dropout dropout{};
  rapt_ragged ragged{};
  rapt_pages pages{};
  rapt_lengths lengths{};
  rapt_positions positions{};
  rapt_attention attention{};
  rapt_gradient gradient{};
  std::vector<std::int64_t> step_q, step_kv;
  rapt_step step{};

  std::optional<DeviceProblem> device;
  rapt_gradient device_gradient{};

  Memory(const Case& given, Contents contents, Place place)
      : Tensors(make_tensors(given, contents == Contents::values)) {
    make_groups();
    if (c.direction == "backward") make_gradient();
    make_step();
    inputs_hash = hash_inputs();
    if (place == Place::host) return;
    device.emplace(attention, contents == Contents::values ? storage() : Storage{}, place);
    if (c.direction == "backward") device_gradient = device->moved(gradient);
  }

  // ---- the C structs

  template <class Group>
  static Group group() {
    Group g{};
    g.struct_size = sizeof g;
    return g;
  }

  void make_groups() {
    attention = group<rapt_attention>();
    attention.q = q.view;
    attention.k = k.view;
    attention.v = v.view;
    attention.out = out.view;
    attention.lse = lse.view;
    scale = static_cast<float>(c.scale);
    if (c.scale != 0) attention.scale = &scale;
    make_score_groups();
    make_place_groups();
  }

  void make_score_groups() {
    const std::int64_t right_edge = c.mask == "causal" ? 0 : c.right;
    mask = {sizeof mask, c.left, right_edge, c.sink_tokens};
    if (c.mask != "full" || c.sink_tokens > 0) attention.mask = &mask;
    softcap = {sizeof softcap, static_cast<float>(c.softcap)};
    if (c.softcap != 0) attention.softcap = &softcap;
    alibi = {sizeof alibi, slopes.view};
    if (c.alibi != "none") attention.alibi = &alibi;
    bias_group = {sizeof bias_group, bias.view};
    if (c.bias != "none") attention.bias = &bias_group;
    sinks_group = {sizeof sinks_group, sinks.view};
    if (c.sinks) attention.sinks = &sinks_group;
    const std::uint64_t mixed = c.seed * 0x9e3779b97f4a7c15u;
    dropout = {sizeof dropout, static_cast<float>(c.dropout), mixed, c.seed % 3 * 0x1'0000'0007u};
    if (c.dropout != 0) attention.dropout = &dropout;
  }

  void make_place_groups() {
    ragged = {sizeof ragged, q_offsets.view, kv_offsets.view, 0, 0};
    if (c.seed % 2 == 0) {
      ragged.max_q_len = c.q_len;
      ragged.max_kv_len = c.kv == "ragged" ? c.kv_len : 0;
    }
    if (c.q == "ragged" || c.kv == "ragged") attention.ragged = &ragged;
    pages = {sizeof pages, table.view, page_layout(), c.page_size};
    if (c.kv == "paged") attention.pages = &pages;
    lengths = {sizeof lengths, q_used.view, kv_used.view, cache_row.view, left_pad.view};
    if (q_used.view.data || kv_used.view.data) attention.lengths = &lengths;
    positions = {sizeof positions, q_start.view, kv_start.view};
    if (c.positions) attention.positions = &positions;
  }

  [[nodiscard]] rapt_page_layout page_layout() const {
    if (c.layout == "x_packed") return RAPT_X_PACKED;
    if (c.layout == "head_dim_page") return RAPT_HEAD_DIM_PAGE;
    return c.layout == "head_page_dim" ? RAPT_HEAD_PAGE_DIM : RAPT_PAGE_HEAD_DIM;
  }

  void make_gradient() {
    gradient = {sizeof gradient, &attention,  d_out.view,   dq.view,      dk.view,
                dv.view,         d_bias.view, d_sinks.view, d_slopes.view};
  }

  void make_step() {
    step_q = each(q_len_of);
    step_kv = each(kv_len_of);
    step = {sizeof step, c.batch, step_q.data(), step_kv.data()};
  }

  // ---- on a device

  [[nodiscard]] Storage storage() {
    Storage all;
    for (Tensor* t : inputs()) all.emplace_back(t->bytes);
    for (Tensor* t : outputs()) all.emplace_back(t->bytes);
    return all;
  }

  // ---- what a call may have touched

  [[nodiscard]] std::uint64_t hash_inputs() {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const Tensor* t : inputs()) {
      std::size_t n = 0;
      for (std::uint64_t word = 0; n + 8 <= t->bytes.size(); n += 8) {
        std::memcpy(&word, t->bytes.data() + n, 8);
        hash = (hash ^ word) * 0x100000001b3u;
      }
    }
    return hash;
  }
};

Workload::Workload(const Case& c, Contents contents, Place place)
    : memory_(std::make_unique<Memory>(c, contents, place)) {}
Workload::~Workload() = default;

const Case& Workload::spec() const { return memory_->c; }
const rapt_attention& Workload::attention() const {
  return memory_->device ? memory_->device->attention() : memory_->attention;
}
const rapt_attention& Workload::host_attention() const { return memory_->attention; }
const rapt_gradient& Workload::gradient() const {
  return memory_->device ? memory_->device_gradient : memory_->gradient;
}
const rapt_gradient& Workload::host_gradient() const { return memory_->gradient; }
const rapt_step& Workload::step() const { return memory_->step; }

void Workload::poison_outputs() {
  for (Tensor* t : memory_->outputs()) {
    t->poison();
    if (memory_->device && !t->bytes.empty()) memory_->device->upload(t->bytes);
  }
}

void Workload::download() {
  if (memory_->device) memory_->device->download();
}

std::string Workload::stray_writes() const {
  for (const auto& [name, tensor] : memory_->named_outputs()) {
    if (!gaps_are_poison(*tensor)) return name + ": memory between its elements was written";
  }
  if (memory_->hash_inputs() != memory_->inputs_hash) return "inputs: their memory was written";
  return "";
}

std::string Workload::output_bytes() const {
  std::string all;
  for (const auto& output : memory_->named_outputs()) {
    const rapt_tensor* t = &output.second->view;
    if (t->rank == 0) continue;
    const std::int64_t width = dtype_bytes(t->dtype);
    const auto row = static_cast<std::size_t>(t->shape[t->rank - 1] * width);
    for (const std::int64_t offset : row_offsets(*t)) {
      all.append(static_cast<const char*>(t->data) + offset * width, row);
    }
  }
  return all;
}

}  // namespace rapt::kit
