// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reports as text: a table for people, JSON for programs.
#include "bench/report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/machine.h"
#include "bench/text.h"

namespace rapt::bench {
namespace {

using Json = nlohmann::ordered_json;

// JSON's null where there is no value.
template <class T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json();
}

Json row_json(const Row& row) {
  const auto timed = [&](double value) { return row.checked ? Json(value) : Json(); };
  return {{"case", kit::print_case(row.spec)},
          {"direction", row.spec.direction},
          {"dtype", rapt_dtype_name(row.spec.dtype)},
          {"head_dim", row.spec.head_dim},
          {"q_len", row.spec.q_len},
          {"kv_len", row.spec.kv_len},
          {"backend", row.backend},
          {"kernel", row.kernel},
          {"threads", row.threads},
          {"median_us", timed(row.median_us)},
          {"min_us", timed(row.min_us)},
          {"gflops", timed(row.gflops)},
          {"gbps", timed(row.gbps)},
          {"ceiling", optional_json(row.ceiling)},
          {"share", optional_json(row.share)},
          {"checked", row.checked},
          {"error", row.error},
          {"peer", row.peer.empty() ? Json() : Json(row.peer)},
          {"speedup", optional_json(row.speedup)},
          {"peak_bytes", optional_json(row.peak_bytes)}};
}

Json ceilings_json(const Ceilings& ceilings) {
  return {{"isa", ceilings.isa},
          {"device", ceilings.device.empty() ? Json() : Json(ceilings.device)},
          {"threads", ceilings.threads},
          {"fp32_gflops", ceilings.fp32_gflops},
          {"bf16_gflops", ceilings.bf16_gflops},
          {"fp16_gflops", ceilings.fp16_gflops},
          {"read_gbps", ceilings.read_gbps}};
}

Json machine_json(const Machine& machine) {
  return {{"name", machine.name},
          {"detail", machine.detail},
          {"cpus", machine.cpus},
          {"memory_bytes", machine.memory_bytes}};
}

std::vector<std::string> heading(Bound bound) {
  const bool compute = bound == Bound::compute;
  return {"case",
          "kernel",
          "threads",
          "median",
          compute ? "GFLOP/s" : "GB/s",
          compute ? "of peak" : "of read",
          "against peer",
          "memory",
          "error"};
}

std::vector<std::string> cells(const Row& row, Bound bound) {
  const double rate = bound == Bound::compute ? row.gflops : row.gbps;
  const std::string threads = row.threads > 0 ? std::to_string(row.threads) : "";
  if (!row.checked) return {row.label, row.kernel, threads, "WRONG", "", "", "", "", ""};
  char error[32];
  std::snprintf(error, sizeof error, "%.1e", row.error);
  return {row.label,
          row.kernel,
          threads,
          duration(row.median_us),
          decimals(rate, 1),
          row.share ? percent(*row.share) : "",
          row.speedup ? decimals(*row.speedup, 2) + "x" : "",
          row.peak_bytes ? memory_size(static_cast<double>(*row.peak_bytes)) : "",
          error};
}

// Columns in which only the heading says something are left out.
std::vector<std::vector<std::string>> without_empty_columns(
    const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::vector<std::string>> kept(rows.size());
  for (std::size_t column = 0; column < rows.front().size(); ++column) {
    const bool used = std::any_of(rows.begin() + 1, rows.end(),
                                  [&](const auto& row) { return !row[column].empty(); });
    if (!used) continue;
    for (std::size_t i = 0; i < rows.size(); ++i) kept[i].push_back(rows[i][column]);
  }
  return kept;
}

std::string ceiling_line(const Ceilings& c) {
  const std::string threads = std::to_string(c.threads) + (c.threads == 1 ? " thread" : " threads");
  std::string line = "ceilings, " + c.isa + ", " + (c.device.empty() ? threads : c.device) + ": " +
                     decimals(c.fp32_gflops, 1) + " GFLOP/s FP32";
  if (c.bf16_gflops > 0) line += ", " + decimals(c.bf16_gflops, 1) + " BF16";
  return line + ", " + decimals(c.read_gbps, 1) + " GB/s read\n";
}

}  // namespace

std::string as_table(const Report& report) {
  std::vector<std::vector<std::string>> rows = {heading(report.suite.bound)};
  for (const Row& row : report.rows) rows.push_back(cells(row, report.suite.bound));
  std::string text = report.rows.empty() ? "" : aligned(without_empty_columns(rows));
  for (const Ceilings& ceilings : report.ceilings) text += ceiling_line(ceilings);
  for (const Row& row : report.rows) {
    if (!row.checked) text += "WRONG " + kit::print_case(row.spec) + "\n  " + row.sentence + "\n";
  }
  for (const Refusal& refusal : report.refusals) {
    text += std::string(rapt_status_name(refusal.status)) + " " + refusal.text + "\n  " +
            refusal.sentence + "\n";
  }
  return text;
}

std::string as_json(const Report& report) {
  Json json = {{"schema", 1},
               {"machine", machine_json(this_machine())},
               {"commit", this_commit()},
               {"suite", report.suite.name},
               {"ceilings", Json::array()},
               {"rows", Json::array()},
               {"refused", Json::array()}};
  for (const Ceilings& ceilings : report.ceilings) {
    json["ceilings"].push_back(ceilings_json(ceilings));
  }
  for (const Row& row : report.rows) json["rows"].push_back(row_json(row));
  for (const Refusal& refusal : report.refusals) {
    json["refused"].push_back({{"case", refusal.text},
                               {"status", rapt_status_name(refusal.status)},
                               {"sentence", refusal.sentence}});
  }
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace rapt::bench
