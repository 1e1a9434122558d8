// SPDX-License-Identifier: Apache-2.0 OR MIT
// The grammar of cases. One table of fields says each key's name, place and legal values; parsing,
// printing and the sentences of refusal all come from it.
#include "kit/case.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <sstream>
#include <variant>

namespace rapt::kit {
namespace {

using Int = std::int64_t Case::*;
using Seed = std::uint64_t Case::*;
using Flag = bool Case::*;
using Number = double Case::*;
using Word = std::string Case::*;
using Type = rapt_dtype Case::*;
using Lengths = std::vector<std::int64_t> Case::*;

struct Field {
  const char* key;
  std::variant<Int, Seed, Flag, Number, Word, Type, Lengths> member;
  const char* choices = "";  // words: "a|b|c"; numbers: "inf" where RAPT_UNBOUNDED may stand
  std::int64_t least = 0;    // of an Int
};

constexpr const char* kDtypes = "fp32|fp16|bf16|fp8_e4m3|fp8_e5m2";

// In the order in which a case is printed.
const Field kFields[] = {
    {"dtype", &Case::dtype, kDtypes},
    {"out_dtype", &Case::out_dtype, kDtypes},
    {"direction", &Case::direction, "forward|backward"},
    {"batch", &Case::batch},
    {"q_len", &Case::q_len},
    {"kv_len", &Case::kv_len},
    {"q_heads", &Case::q_heads, "", 1},
    {"kv_heads", &Case::kv_heads, "", 1},
    {"head_dim", &Case::head_dim, "", 1},
    {"value_dim", &Case::value_dim, "", 1},
    {"left", &Case::left, "inf"},
    {"right", &Case::right, "inf"},
    {"mask", &Case::mask, "full|causal|band"},
    {"sink_tokens", &Case::sink_tokens},
    {"scale", &Case::scale},
    {"softcap", &Case::softcap},
    {"alibi", &Case::alibi, "none|head|batch"},
    {"bias", &Case::bias, "none|fp32|fp16|bf16"},
    {"bias_dims", &Case::bias_dims, "|b|h|q|bh|bq|hq|bhq"},
    {"sinks", &Case::sinks},
    {"dropout", &Case::dropout},
    {"lse", &Case::lse},
    {"q", &Case::q, "dense|ragged"},
    {"page_size", &Case::page_size},
    {"kv", &Case::kv, "dense|ragged|paged"},
    {"layout", &Case::layout, "page_head_dim|head_page_dim|head_dim_page|x_packed"},
    {"q_lens", &Case::q_lens},
    {"kv_lens", &Case::kv_lens},
    {"cache_row", &Case::cache_row},
    {"left_pad", &Case::left_pad},
    {"positions", &Case::positions},
    {"order", &Case::order, "bshd|bhsd|padded"},
    {"values", &Case::values, "normal|offset|outliers|large|nan|inf"},
    {"seed", &Case::seed},
};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::string part;
  std::istringstream stream(text);
  while (std::getline(stream, part, separator)) parts.push_back(part);
  if (text.empty() || text.back() == separator) parts.emplace_back();
  return parts;
}

template <class T>
bool read_number(const std::string& text, T& out) {
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, out);
  return error == std::errc() && stop == end;
}

// Each reader answers what was wanted, "" when the text is that.

std::string read(const Field& field, const std::string& text, std::int64_t& out) {
  if (std::string(field.choices) == "inf" && text == "inf") {
    out = RAPT_UNBOUNDED;
    return "";
  }
  if (read_number(text, out) && out >= field.least) return "";
  return "an integer of at least " + std::to_string(field.least) +
         (*field.choices ? ", or inf" : "");
}

std::string read(const Field&, const std::string& text, std::uint64_t& out) {
  return read_number(text, out) ? "" : "an unsigned integer";
}

std::string read(const Field&, const std::string& text, bool& out) {
  out = text == "1";
  return text == "0" || text == "1" ? "" : "0 or 1";
}

std::string read(const Field&, const std::string& text, double& out) {
  return read_number(text, out) ? "" : "a number";
}

std::string read(const Field& field, const std::string& text, std::string& out) {
  const std::vector<std::string> choices = split(field.choices, '|');
  out = text;
  if (std::find(choices.begin(), choices.end(), text) != choices.end()) return "";
  return "one of " + std::string(field.choices);
}

const std::pair<const char*, rapt_dtype> kTypeNames[] = {{"fp32", RAPT_FP32},
                                                         {"fp16", RAPT_FP16},
                                                         {"bf16", RAPT_BF16},
                                                         {"fp8_e4m3", RAPT_FP8_E4M3},
                                                         {"fp8_e5m2", RAPT_FP8_E5M2}};

std::string read(const Field& field, const std::string& text, rapt_dtype& out) {
  for (const auto& [name, dtype] : kTypeNames) {
    if (text != name) continue;
    out = dtype;
    return "";
  }
  return "one of " + std::string(field.choices);
}

std::string read(const Field&, const std::string& text, std::vector<std::int64_t>& out) {
  out.clear();
  for (const std::string& part : split(text, ',')) {
    std::int64_t length = 0;
    if (!read_number(part, length) || length < 0) return "lengths of at least 0, as 3,0,5";
    out.push_back(length);
  }
  return "";
}

std::string write(std::int64_t value) {
  return value == RAPT_UNBOUNDED ? "inf" : std::to_string(value);
}
std::string write(std::uint64_t value) { return std::to_string(value); }
std::string write(bool value) { return value ? "1" : "0"; }
std::string write(const std::string& value) { return value; }

std::string write(double value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, value).ptr};
}

std::string write(rapt_dtype value) {
  for (const auto& [name, dtype] : kTypeNames) {
    if (value == dtype) return name;
  }
  return "none";
}

std::string write(const std::vector<std::int64_t>& value) {
  std::string text;
  for (const std::int64_t length : value) {
    if (!text.empty()) text += ',';
    text += std::to_string(length);
  }
  return text;
}

// What the keys that the text leaves out are, given those that it holds.
Case implied(const Case& c, const std::set<std::string>& given) {
  Case d;
  const auto& lens = c.q_lens.empty() ? c.kv_lens : c.q_lens;
  if (!lens.empty()) d.batch = static_cast<std::int64_t>(lens.size());
  if (!c.q_lens.empty()) d.q_len = *std::max_element(c.q_lens.begin(), c.q_lens.end());
  d.kv_len = given.count("q_len") ? c.q_len : d.q_len;
  if (!c.kv_lens.empty()) d.kv_len = *std::max_element(c.kv_lens.begin(), c.kv_lens.end());
  d.kv_heads = given.count("q_heads") ? c.q_heads : d.q_heads;
  d.value_dim = given.count("head_dim") ? c.head_dim : d.head_dim;
  d.out_dtype = given.count("dtype") ? c.dtype : d.dtype;
  if (given.count("left") || given.count("right")) d.mask = "band";
  if (given.count("page_size") && c.page_size > 0) d.kv = "paged";
  if (c.kv == "paged") d.page_size = 16;
  return d;
}

const Field* find_field(const std::string& key) {
  const auto* found = std::find_if(std::begin(kFields), std::end(kFields),
                                   [&](const Field& f) { return key == f.key; });
  return found == std::end(kFields) ? nullptr : found;
}

std::string read_word(const std::string& word, Case& c, std::set<std::string>& given) {
  const std::size_t equals = word.find('=');
  const std::string key = word.substr(0, equals);
  const Field* field = find_field(key);
  if (field == nullptr) return key + ": no such key";
  if (equals == std::string::npos) return key + ": no value; wanted " + key + "=VALUE";
  if (!given.insert(key).second) return key + ": given twice";
  const std::string text = word.substr(equals + 1);
  const std::string wanted =
      std::visit([&](auto member) { return read(*field, text, c.*member); }, field->member);
  return wanted.empty() ? "" : key + ": is \"" + text + "\", wanted " + wanted;
}

std::string check_lengths(const char* key, const std::vector<std::int64_t>& lens,
                          std::int64_t batch, std::int64_t longest) {
  if (lens.empty()) return "";
  if (static_cast<std::int64_t>(lens.size()) != batch) {
    return std::string(key) + ": has " + std::to_string(lens.size()) + " lengths, batch is " +
           std::to_string(batch);
  }
  const std::int64_t most = *std::max_element(lens.begin(), lens.end());
  if (most <= longest) return "";
  return std::string(key) + ": holds " + std::to_string(most) + ", the longest may be " +
         std::to_string(longest);
}

// What no tensors could be made for. Everything else is the library's to take or refuse.
std::string check_case(const Case& c) {
  if (c.mask != "band" && (c.left != RAPT_UNBOUNDED || c.right != RAPT_UNBOUNDED)) {
    return std::string(c.left != RAPT_UNBOUNDED ? "left" : "right") + ": mask is " + c.mask +
           ", wanted band";
  }
  if (c.kv != "paged" && c.page_size > 0) return "page_size: kv is " + c.kv + ", wanted paged";
  if (c.kv == "paged" && c.page_size < 1) return "page_size: is 0, wanted at least 1";
  if (c.layout != "page_head_dim" && c.kv != "paged") {
    return "layout: kv is " + c.kv + ", wanted paged";
  }
  const std::string wrong = check_lengths("q_lens", c.q_lens, c.batch, c.q_len);
  return wrong.empty() ? check_lengths("kv_lens", c.kv_lens, c.batch, c.kv_len) : wrong;
}

}  // namespace

std::string parse_case(const std::string& text, Case& out) {
  Case c;
  std::set<std::string> given;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const std::string wrong = read_word(word, c, given);
    if (!wrong.empty()) return wrong;
  }
  out = implied(c, given);
  for (const std::string& key : given) {
    std::visit([&](auto member) { out.*member = c.*member; }, find_field(key)->member);
  }
  return check_case(out);
}

Case with_defaults(Case c) {
  if (c.out_dtype == RAPT_NONE) c.out_dtype = c.dtype;
  if (c.kv_len < 0) c.kv_len = c.q_len;
  if (c.kv_heads < 0) c.kv_heads = c.q_heads;
  if (c.value_dim < 0) c.value_dim = c.head_dim;
  if (c.page_size > 0) c.kv = "paged";
  return c;
}

std::string print_case(const Case& c) {
  const Case full = with_defaults(c);
  std::set<std::string> given;
  std::string text;
  for (const Field& field : kFields) {
    const Case defaults = implied(full, given);
    const auto print = [&](auto member) {
      if (full.*member == defaults.*member) return;
      if (!text.empty()) text += ' ';
      text.append(field.key).append("=").append(write(full.*member));
      given.insert(field.key);
    };
    std::visit(print, field.member);
  }
  return text;
}

}  // namespace rapt::kit
