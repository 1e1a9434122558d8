// SPDX-License-Identifier: Apache-2.0 OR MIT
// Walks the kernel tables of all backends.
#include "api/choose.h"

#include <algorithm>
#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "api/say.h"
#include "log.h"
#include "names.h"

namespace rapt {
namespace {

// One row of a backend's kernel table.
struct Row {
  Backend* backend = nullptr;
  KernelIndex index = 0;

  [[nodiscard]] const char* kernel() const { return backend->kernel_name(index); }
  friend bool operator==(const Row&, const Row&) = default;
};

// What the caller asked for comes before what the kernel says of the problem.
Refusal refusal(const Row& row, const Problem& p, const Target& target) {
  if (!target.backend.empty() && target.backend != row.backend->name()) {
    return Refusal::because("options.backend: asks for ", target.backend);
  }
  if (!target.kernel.empty() && target.kernel != row.kernel()) {
    return Refusal::because("options.kernel: asks for ", target.kernel);
  }
  if (p.kv_dtype != p.dtype) {
    return Refusal::because("k: dtype is ", name_of(p.kv_dtype), " under a q of ", name_of(p.dtype),
                            "; no kernel of this version reads such a cache");
  }
  return row.backend->refuse(row.index, p, target);
}

// The first row, in order of preference, for which `wanted` holds; its backend is null where there
// is none.
template <typename Wanted>
Row first_row(Backends backends, Wanted wanted) {
  for (Backend* backend : backends) {
    for (KernelIndex index = 0; index < backend->kernel_count(); ++index) {
      if (const Row row{backend, index}; wanted(row)) return row;
    }
  }
  return {};
}

template <typename Do>
void for_each_row(Backends backends, Do act) {
  first_row(backends, [&](const Row& row) { return act(row), false; });
}

// A kernel that no backend has is a mistake, not a refusal.
Status first_taker(Backends backends, const Problem& problem, const Target& target, Row* taker) {
  *taker =
      first_row(backends, [&](const Row& row) { return !refusal(row, problem, target).refuses(); });
  if (taker->backend != nullptr || target.kernel.empty()) return {};
  const Row named =
      first_row(backends, [&](const Row& row) { return target.kernel == row.kernel(); });
  if (named.backend != nullptr) return {};
  return invalid(say("options.kernel: \"", target.kernel, "\" is no kernel of this build"));
}

// Whether the caller left this row in the choice at all; the others have nothing to say. A caller
// who names neither asks the backend of the tensors' device.
bool asked_for(const Row& row, const Problem& problem, const Target& target) {
  if (!target.kernel.empty()) return target.kernel == row.kernel();
  const std::string_view backend =
      target.backend.empty() ? name_of(problem.device_kind) : target.backend;
  return backend == row.backend->name();
}

// Every sentence once, with the kernels that say it: "q: dtype is fp8_e4m3 ... (cpu/a, cpu/b)".
std::string refusals(Backends backends, const Problem& problem, const Target& target) {
  std::vector<std::pair<std::string, std::string>> said;
  for_each_row(backends, [&](const Row& row) {
    if (!asked_for(row, problem, target)) return;
    const std::string sentence = refusal(row, problem, target).sentence();
    const auto same =
        std::find_if(said.begin(), said.end(), [&](const auto& s) { return s.first == sentence; });
    if (same != said.end()) {
      same->second += std::string(", ") + row.kernel();
    } else {
      said.emplace_back(sentence, row.kernel());
    }
  });
  std::string all;
  for (const auto& [sentence, kernels] : said) {
    all += (all.empty() ? "" : "; ") + sentence + " (" + kernels + ")";
  }
  if (!all.empty()) return all;
  return say("q: is on ", name_of(problem.device_kind), ", which this build does not run on");
}

void log_choice(const char* kernel, const Problem& p) {
  log_line(say(kernel, " batch=", p.batch, " q_len=", p.q_len, " kv_len=", p.kv_len,
               " q_heads=", p.q_heads, " kv_heads=", p.kv_heads, " head_dim=", p.head_dim,
               " value_dim=", p.value_dim, " dtype=", name_of(p.dtype)));
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
  Row row;
  RAPT_RETURN_IF_ERROR(first_taker(backends, problem, target, &row));
  if (row.backend == nullptr) return unsupported(refusals(backends, problem, target));
  choice->backend = row.backend;
  choice->kernel = row.index;
  choice->grain = row.backend->grain(problem, row.index);
  if (logging()) log_choice(row.kernel(), problem);
  return {};
}

Status explain(Backends backends, const Problem& problem, const Target& target, std::string* json) {
  Row chosen;
  RAPT_RETURN_IF_ERROR(first_taker(backends, problem, target, &chosen));
  *json = say("{\"schema\": 1, \"chosen\": ",
              chosen.backend == nullptr ? "null" : quoted(chosen.kernel()), ", \"refused\": [");
  const char* separator = "";
  for_each_row(backends, [&](const Row& row) {
    if (row == chosen) return;
    const Refusal why = refusal(row, problem, target);
    const std::string sentence = why.refuses()
                                     ? why.sentence()
                                     : say(chosen.kernel(), ": takes the problem and comes first");
    *json += say(separator, "{\"kernel\": ", quoted(row.kernel()),
                 ", \"sentence\": ", quoted(sentence), "}");
    separator = ", ";
  });
  *json += "]}";
  return {};
}

Status choose_backend(Backends backends, const Place& place, const Target& target,
                      Backend** backend) {
  if (!target.kernel.empty()) return invalid("options.kernel: only attention has kernels to name");
  const std::string_view device = name_of(place.device);
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
