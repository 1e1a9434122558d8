// SPDX-License-Identifier: Apache-2.0 OR MIT
// Compares a problem with a plan, field by field.
#include "api/plan_match.h"

#include "api/say.h"

namespace rapt {
namespace {

struct Number {
  const char* text;
  std::int64_t (*of)(const Problem&);
};

constexpr Number kNumbers[] = {
    {"q: device_kind is ",
     [](const Problem& p) { return std::int64_t{static_cast<int>(p.device_kind)}; }},
    {"q: device_index is ", [](const Problem& p) { return std::int64_t{p.device_index}; }},
    {"q: q_heads is ", [](const Problem& p) { return p.q_heads; }},
    {"q: head_dim is ", [](const Problem& p) { return p.head_dim; }},
    {"k: kv_heads is ", [](const Problem& p) { return p.kv_heads; }},
    {"v: value_dim is ", [](const Problem& p) { return p.value_dim; }},
    {"pages.page_size: is ", [](const Problem& p) { return p.page_size; }},
    {"pages.layout: is ", [](const Problem& p) { return std::int64_t{p.page_layout}; }},
    {"mask.left: is ", [](const Problem& p) { return p.mask_left; }},
    {"mask.right: is ", [](const Problem& p) { return p.mask_right; }},
    {"mask.sink_tokens: is ", [](const Problem& p) { return p.sink_tokens; }},
};

struct Type {
  const char* field;
  DType Problem::* of;
};

constexpr Type kTypes[] = {{"q: dtype", &Problem::dtype},
                           {"k: dtype", &Problem::kv_dtype},
                           {"out: dtype", &Problem::out_dtype},
                           {"bias.bias: dtype", &Problem::bias_dtype}};

struct Part {
  const char* field;
  bool (*given)(const Problem&);
};

constexpr Part kParts[] = {
    {"lse", [](const Problem& p) { return p.lse.data != nullptr; }},
    {"softcap", [](const Problem& p) { return p.softcap > 0; }},
    {"alibi", [](const Problem& p) { return p.alibi != nullptr; }},
    {"sinks", [](const Problem& p) { return p.sinks != nullptr; }},
    {"dropout", [](const Problem& p) { return p.dropout_keep < 256; }},
    {"ragged.q_offsets", [](const Problem& p) { return p.q_offsets.data != nullptr; }},
    {"ragged.kv_offsets", [](const Problem& p) { return p.kv_offsets.data != nullptr; }},
    {"lengths.q_len", [](const Problem& p) { return p.q_used.data != nullptr; }},
    {"lengths.kv_len", [](const Problem& p) { return p.kv_used.data != nullptr; }},
    {"lengths.cache_row", [](const Problem& p) { return p.cache_row.data != nullptr; }},
    {"lengths.left_pad", [](const Problem& p) { return p.left_pad.data != nullptr; }},
    {"positions.q_start", [](const Problem& p) { return p.q_start.data != nullptr; }},
    {"positions.kv_start", [](const Problem& p) { return p.kv_start.data != nullptr; }},
};

Status match_length(const char* field, std::int64_t b, std::int64_t found, std::int64_t uploaded) {
  if (found == uploaded) return {};
  return invalid(say(field, ": sequence ", b, " is ", found, ", ", uploaded, " was uploaded"));
}

// Whoever says a sequence's length says that it is another one.
const char* query_field(const Problem& p) {
  if (p.q_offsets.data != nullptr) return "ragged.q_offsets";
  return p.q_used.data != nullptr ? "lengths.q_len" : "q";
}

const char* key_field(const Problem& p) {
  if (p.kv_offsets.data != nullptr) return "ragged.kv_offsets";
  if (p.left_pad.data != nullptr) return "lengths.left_pad";
  return p.kv_used.data != nullptr ? "lengths.kv_len" : "k";
}

const char* name_of(DType dtype) { return rapt_dtype_name(static_cast<rapt_dtype>(dtype)); }

}  // namespace

Status match_problem(const Problem& planned, const Problem& p) {
  for (const auto& [text, of] : kNumbers) {
    if (of(p) == of(planned)) continue;
    return invalid(say(text, of(p), ", the plan has ", of(planned)));
  }
  for (const auto& [field, of] : kTypes) {
    if (p.*of == planned.*of) continue;
    return invalid(say(field, " is ", name_of(p.*of), ", the plan has ", name_of(planned.*of)));
  }
  for (const auto& [field, given] : kParts) {
    if (given(p) == given(planned)) continue;
    return invalid(say(field, ": ", given(p) ? "is given, the plan has none" : "is missing"));
  }
  return {};
}

Status match_batch(std::size_t uploaded, const Problem& p) {
  if (static_cast<std::size_t>(p.batch) == uploaded) return {};
  const char* field = p.q_offsets.data != nullptr ? "ragged.q_offsets" : "q";
  return invalid(say(field, ": batch is ", p.batch, ", ", uploaded, " were uploaded"));
}

Status match_bounds(const StepBounds& most, const Problem& p) {
  const auto within = [](const char* field, std::int64_t is, std::int64_t limit) {
    if (is <= limit) return Status{};
    return invalid(say(field, " is ", is, ", the plan has ", limit));
  };
  RAPT_RETURN_IF_ERROR(within("q: q_len", p.q_len, most.q_len));
  RAPT_RETURN_IF_ERROR(within("q: tokens", p.q_tokens, most.q_tokens));
  return within("k: kv_len", p.kv_len, most.kv_len);
}

Status match_lengths(std::span<const Extent> uploaded, const Problem& p,
                     std::span<const Sequence> sequences) {
  const char* queries = query_field(p);
  const char* keys = key_field(p);
  for (const Sequence& s : sequences) {
    const Extent& e = uploaded[static_cast<std::size_t>(s.index)];
    RAPT_RETURN_IF_ERROR(match_length(queries, s.index, s.q_len, e.q_len));
    RAPT_RETURN_IF_ERROR(match_length(keys, s.index, s.kv_len, e.kv_len));
    if (s.q_rows == e.q_rows) continue;
    return invalid(say("q: q_len is ", s.q_rows, ", the plan has ", e.q_rows));
  }
  return {};
}

}  // namespace rapt
