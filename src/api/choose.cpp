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
  const char* kernel = "";
};

// What the tables are asked: a forward, or a gradient and its own tables.
struct Question {
  Backends backends;
  const Problem& problem;
  const Target& target;
  const Gradient* gradient = nullptr;

  [[nodiscard]] std::size_t rows(const Backend& backend) const {
    return gradient != nullptr ? backend.gradient_kernel_count() : backend.kernel_count();
  }
  [[nodiscard]] const char* name(const Backend& backend, KernelIndex index) const {
    return gradient != nullptr ? backend.gradient_kernel_name(index) : backend.kernel_name(index);
  }
  [[nodiscard]] Refusal answer(const Row& row) const {
    return gradient != nullptr ? row.backend->refuse_gradient(row.index, *gradient, target)
                               : row.backend->refuse(row.index, problem, target);
  }
  [[nodiscard]] bool suits(const Row& row) const {
    return gradient != nullptr || row.backend->suits(row.index, problem);
  }
};

// What the caller asked for comes before what the kernel says of the problem.
Refusal refusal(const Question& asked, const Row& row) {
  const Problem& p = asked.problem;
  const Target& target = asked.target;
  if (!target.backend.empty() && target.backend != row.backend->name()) {
    return Refusal::because("options.backend: asks for ", target.backend);
  }
  if (!target.kernel.empty() && target.kernel != row.kernel) {
    return Refusal::because("options.kernel: asks for ", target.kernel);
  }
  if (p.kv_dtype != p.dtype) {
    return Refusal::because("k: dtype is ", name_of(p.kv_dtype), " under a q of ", name_of(p.dtype),
                            "; no kernel of this version reads such a cache");
  }
  return asked.answer(row);
}

// The first row, in order of preference, for which `wanted` holds; its backend is null where there
// is none.
template <typename Wanted>
Row first_row(const Question& asked, Wanted wanted) {
  for (Backend* backend : asked.backends) {
    for (KernelIndex index = 0; index < asked.rows(*backend); ++index) {
      if (const Row row{backend, index, asked.name(*backend, index)}; wanted(row)) return row;
    }
  }
  return {};
}

template <typename Do>
void for_each_row(const Question& asked, Do act) {
  first_row(asked, [&](const Row& row) { return act(row), false; });
}

// A kernel that no backend has is a mistake, not a refusal.
Status first_taker(const Question& asked, Row* taker) {
  const std::string_view wanted = asked.target.kernel;
  const auto takes = [&](const Row& row) { return !refusal(asked, row).refuses(); };
  *taker = first_row(asked, [&](const Row& row) { return asked.suits(row) && takes(row); });
  if (taker->backend == nullptr) *taker = first_row(asked, takes);
  if (taker->backend != nullptr || wanted.empty()) return {};
  const Row named = first_row(asked, [&](const Row& row) { return wanted == row.kernel; });
  if (named.backend != nullptr) return {};
  return invalid(say("options.kernel: \"", wanted, "\" is no kernel of this build"));
}

// Whether the caller left this row in the choice at all; the others have nothing to say. A caller
// who names neither asks the backend of the tensors' device.
bool asked_for(const Question& asked, const Row& row) {
  const Target& target = asked.target;
  if (!target.kernel.empty()) return target.kernel == row.kernel;
  const std::string_view backend =
      target.backend.empty() ? name_of(asked.problem.device_kind) : target.backend;
  return backend == row.backend->name();
}

// Every sentence once, with the kernels that say it: "q: dtype is fp8_e4m3 ... (cpu/a, cpu/b)".
std::string refusals(const Question& asked) {
  std::vector<std::pair<std::string, std::string>> said;
  for_each_row(asked, [&](const Row& row) {
    if (!asked_for(asked, row)) return;
    const std::string sentence = refusal(asked, row).sentence();
    const auto same =
        std::find_if(said.begin(), said.end(), [&](const auto& s) { return s.first == sentence; });
    if (same != said.end()) {
      same->second += std::string(", ") + row.kernel;
    } else {
      said.emplace_back(sentence, row.kernel);
    }
  });
  std::string all;
  for (const auto& [sentence, kernels] : said) {
    all += (all.empty() ? "" : "; ") + sentence + " (" + kernels + ")";
  }
  if (!all.empty()) return all;
  return say("q: is on ", name_of(asked.problem.device_kind),
             asked.gradient != nullptr ? ", where this build has no gradients"
                                       : ", which this build does not run on");
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

Status take_first(const Question& asked, Choice* choice) {
  Row row;
  RAPT_RETURN_IF_ERROR(first_taker(asked, &row));
  if (row.backend == nullptr) return unsupported(refusals(asked));
  choice->backend = row.backend;
  choice->kernel = row.index;
  choice->grain = asked.gradient != nullptr ? row.backend->gradient_grain(asked.problem, row.index)
                                            : row.backend->grain(asked.problem, row.index);
  if (logging()) log_choice(row.kernel, asked.problem);
  return {};
}

Status tell(const Question& asked, std::string* json) {
  Row chosen;
  RAPT_RETURN_IF_ERROR(first_taker(asked, &chosen));
  *json = say("{\"schema\": 1, \"chosen\": ",
              chosen.backend == nullptr ? "null" : quoted(chosen.kernel), ", \"refused\": [");
  const char* separator = "";
  for_each_row(asked, [&](const Row& row) {
    if (row.backend == chosen.backend && row.index == chosen.index) return;
    const Refusal why = refusal(asked, row);
    const std::string sentence =
        why.refuses() ? why.sentence() : say(chosen.kernel, ": takes the problem and comes first");
    *json += say(separator, "{\"kernel\": ", quoted(row.kernel),
                 ", \"sentence\": ", quoted(sentence), "}");
    separator = ", ";
  });
  *json += "]}";
  return {};
}

}  // namespace

Status choose(Backends backends, const Problem& problem, const Target& target, Choice* choice) {
  return take_first({backends, problem, target}, choice);
}

Status choose_backward(Backends backends, const Gradient& gradient, const Target& target,
                       Choice* choice) {
  return take_first({backends, gradient.forward, target, &gradient}, choice);
}

Status explain(Backends backends, const Problem& problem, const Target& target, std::string* json) {
  return tell({backends, problem, target}, json);
}

Status explain_backward(Backends backends, const Gradient& gradient, const Target& target,
                        std::string* json) {
  return tell({backends, gradient.forward, target, &gradient}, json);
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
