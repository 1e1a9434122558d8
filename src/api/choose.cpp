// SPDX-License-Identifier: Apache-2.0 OR MIT
// Walks the kernel tables of all backends.
#include "api/choose.h"

#include <algorithm>
#include <cstdio>
#include <utility>
#include <vector>

#include "api/say.h"
#include "log.h"
#include "names.h"

namespace rapt {
namespace {

struct Row {
  Backend* backend = nullptr;
  Candidate candidate;
};

// What the caller asked for comes before what the kernel says of the problem.
std::string refusal(const Problem& p, const Target& target, const Row& row) {
  const std::string backend = row.backend->name();
  if (!target.backend.empty() && target.backend != backend) {
    return say("options.backend: asks for ", target.backend);
  }
  if (!target.kernel.empty() && target.kernel != row.candidate.kernel) {
    return say("options.kernel: asks for ", target.kernel);
  }
  if (p.kv_dtype != p.dtype) {
    return say("k: dtype is ", name_of(p.kv_dtype), " under a q of ", name_of(p.dtype),
               "; no kernel of this version reads such a cache");
  }
  return row.candidate.refusal;
}

std::vector<Row> ask_all(Backends backends, const Problem& problem, const Target& target) {
  std::vector<Row> rows;
  for (Backend* backend : backends) {
    for (Candidate& candidate : backend->candidates(problem, target)) {
      rows.push_back({backend, std::move(candidate)});
      rows.back().candidate.refusal = refusal(problem, target, rows.back());
    }
  }
  return rows;
}

const Row* first_taker(const std::vector<Row>& rows) {
  const auto taker = std::find_if(rows.begin(), rows.end(),
                                  [](const Row& r) { return r.candidate.refusal.empty(); });
  return taker == rows.end() ? nullptr : &*taker;
}

Status check_kernel_known(const std::vector<Row>& rows, const Target& target) {
  if (target.kernel.empty()) return {};
  for (const Row& row : rows) {
    if (row.candidate.kernel == target.kernel) return {};
  }
  return invalid(say("options.kernel: \"", target.kernel, "\" is no kernel of this build"));
}

// Whether the caller left this row in the choice at all; the others have nothing to say. A caller
// who names neither asks the backend of the tensors' device.
bool asked_for(const Row& row, const Problem& problem, const Target& target) {
  if (!target.kernel.empty()) return target.kernel == row.candidate.kernel;
  const std::string backend =
      target.backend.empty() ? name_of(problem.device_kind) : target.backend;
  return backend == row.backend->name();
}

// Every sentence once, with the kernels that say it: "q: dtype is fp8_e4m3 ... (cpu/a, cpu/b)".
std::string refusals(const std::vector<Row>& rows, const Problem& problem, const Target& target) {
  std::vector<std::pair<std::string, std::string>> said;
  for (const Row& row : rows) {
    if (!asked_for(row, problem, target)) continue;
    const std::string& kernel = row.candidate.kernel;
    const std::string& sentence = row.candidate.refusal;
    const auto same =
        std::find_if(said.begin(), said.end(), [&](const auto& s) { return s.first == sentence; });
    if (same != said.end()) {
      same->second += ", " + kernel;
    } else {
      said.emplace_back(sentence, kernel);
    }
  }
  std::string all;
  for (const auto& [sentence, kernels] : said) {
    all += (all.empty() ? "" : "; ") + sentence + " (" + kernels + ")";
  }
  if (!all.empty()) return all;
  return say("q: is on ", name_of(problem.device_kind), ", which this build does not run on");
}

std::string quoted(const std::string& text) {
  std::string json = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      json += '\\';
      json += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      json += escape;
    } else {
      json += c;
    }
  }
  return json + "\"";
}

}  // namespace

Status choose(Backends backends, const Problem& problem, const Target& target, Choice* choice) {
  const std::vector<Row> rows = ask_all(backends, problem, target);
  RAPT_RETURN_IF_ERROR(check_kernel_known(rows, target));
  const Row* row = first_taker(rows);
  if (row == nullptr) return unsupported(refusals(rows, problem, target));
  choice->backend = row->backend;
  choice->kernel = row->candidate.kernel;
  choice->grain = row->backend->grain(problem, choice->kernel);
  log_line(say(choice->kernel, " batch=", problem.batch, " q_len=", problem.q_len,
               " kv_len=", problem.kv_len, " q_heads=", problem.q_heads,
               " kv_heads=", problem.kv_heads, " head_dim=", problem.head_dim,
               " value_dim=", problem.value_dim, " dtype=", name_of(problem.dtype)));
  return {};
}

Status explain(Backends backends, const Problem& problem, const Target& target, std::string* json) {
  const std::vector<Row> rows = ask_all(backends, problem, target);
  RAPT_RETURN_IF_ERROR(check_kernel_known(rows, target));
  const Row* chosen = first_taker(rows);
  *json = say("{\"schema\": 1, \"chosen\": ",
              chosen == nullptr ? "null" : quoted(chosen->candidate.kernel), ", \"refused\": [");
  const char* separator = "";
  for (const Row& row : rows) {
    if (&row == chosen) continue;
    std::string sentence = row.candidate.refusal;
    if (sentence.empty())
      sentence = chosen->candidate.kernel + ": takes the problem and comes first";
    *json += say(separator, "{\"kernel\": ", quoted(row.candidate.kernel),
                 ", \"sentence\": ", quoted(sentence), "}");
    separator = ", ";
  }
  *json += "]}";
  return {};
}

Status choose_backend(Backends backends, const Place& place, const Target& target,
                      Backend** backend) {
  if (!target.kernel.empty()) return invalid("options.kernel: only attention has kernels to name");
  const std::string device = name_of(place.device);
  if (!target.backend.empty() && target.backend != device) {
    return unsupported(
        say(place.field, ": is on ", device, ", the call asks for ", target.backend));
  }
  for (Backend* candidate : backends) {
    if (candidate->name() != device) continue;
    *backend = candidate;
    return {};
  }
  return unsupported(say(place.field, ": is on ", device, ", which this build does not run on"));
}

}  // namespace rapt
