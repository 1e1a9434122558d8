// SPDX-License-Identifier: Apache-2.0 OR MIT
// Reading and writing safetensors. Nothing is allocated by a number that the file claims: every
// number is held against the bytes that are really there first.
#include "cli/safetensors.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace rapt::cli {
namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kPrefix = 8;
constexpr std::uint64_t kMaxHeader = 100'000'000;  // the limit of the format's own library
constexpr int kMaxDepth = 4;                       // file, tensor, list, number
constexpr std::size_t kMaxRank = 64;

struct FileType {
  const char* name;
  rapt_dtype dtype;
  std::uint64_t bytes;
};

constexpr FileType kTypes[] = {
    {"F32", RAPT_FP32, 4},         {"F16", RAPT_FP16, 2},         {"BF16", RAPT_BF16, 2},
    {"F8_E4M3", RAPT_FP8_E4M3, 1}, {"F8_E5M2", RAPT_FP8_E5M2, 1}, {"I8", RAPT_INT8, 1},
    {"I32", RAPT_INT32, 4},        {"U32", RAPT_UINT32, 4},       {"I64", RAPT_INT64, 8},
    {"F64", RAPT_NONE, 8},         {"U64", RAPT_NONE, 8},         {"I16", RAPT_NONE, 2},
    {"U16", RAPT_NONE, 2},         {"U8", RAPT_NONE, 1},          {"BOOL", RAPT_NONE, 1},
};

const FileType* find_type(const std::string& name) {
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const FileType& type) { return name == type.name; });
  return found == std::end(kTypes) ? nullptr : found;
}

// Names come from the file: shown short, and without bytes that could steer a terminal.
std::string shown(const std::string& text) {
  std::string clean;
  for (const char c : text.substr(0, 40)) clean += (c < ' ' || c > '~') ? '?' : c;
  return text.size() > 40 ? clean + "..." : clean;
}

std::uint64_t little_endian(std::span<const std::byte> bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = kPrefix; i-- > 0;)
    value = value << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  return value;
}

// Follows the parser to refuse what a JSON document would hide: the same key twice, and bottomless
// nesting.
class Watch {
 public:
  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > kMaxDepth && error_.empty()) error_ = "header: nested too deeply";
    if (event == Event::object_start) keys_.emplace_back();
    if (event == Event::object_end && !keys_.empty()) keys_.pop_back();
    if (event == Event::key) see_key(parsed.get_ref<const std::string&>());
    return error_.empty();
  }
  [[nodiscard]] const std::string& error() const { return error_; }

 private:
  void see_key(const std::string& key) {
    const bool first = keys_.empty() || keys_.back().insert(key).second;
    if (!first && error_.empty()) error_ = "header: \"" + shown(key) + "\" stands there twice";
  }

  std::vector<std::set<std::string>> keys_;  // of each open object
  std::string error_;
};

std::string parse_header(std::span<const std::byte> text, Json& header) {
  Watch watch;
  const auto* begin = reinterpret_cast<const char*>(text.data());
  header = Json::parse(begin, begin + text.size(), std::ref(watch), false);
  if (!watch.error().empty()) return watch.error();
  if (header.is_discarded()) return "header: is not JSON";
  return header.is_object() ? "" : "header: is JSON, but not an object";
}

// A length or an offset: a whole number of [0, 2^63).
bool read_count(const Json& value, std::int64_t& out) {
  if (!value.is_number_unsigned()) return false;
  const auto number = value.get<std::uint64_t>();
  out = static_cast<std::int64_t>(number);
  return number <= static_cast<std::uint64_t>(INT64_MAX);
}

bool read_counts(const Json& entry, const char* key, std::vector<std::int64_t>& out) {
  const auto list = entry.find(key);
  if (list == entry.end() || !list->is_array() || list->size() > kMaxRank) return false;
  out.resize(list->size());
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (!read_count((*list)[i], out[i])) return false;
  }
  return true;
}

// Bytes of a tensor; false where they are beyond counting.
bool count_bytes(const std::vector<std::int64_t>& shape, std::uint64_t element,
                 std::uint64_t& bytes) {
  bytes = element;
  const bool empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
  if (empty) bytes = 0;
  return empty || std::all_of(shape.begin(), shape.end(), [&](std::int64_t length) {
           return !__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(length), &bytes);
         });
}

std::string read_type(const Json& entry, NamedTensor& tensor) {
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) return "dtype is missing or no text";
  tensor.dtype_name = dtype->get<std::string>();
  const FileType* type = find_type(tensor.dtype_name);
  if (type == nullptr) return "dtype \"" + shown(tensor.dtype_name) + "\" is not of the format";
  tensor.dtype = type->dtype;
  return "";
}

std::string read_place(const Json& entry, std::span<const std::byte> data, NamedTensor& tensor) {
  std::vector<std::int64_t> offsets;
  if (!read_counts(entry, "shape", tensor.shape)) return "shape is no list of lengths";
  if (!read_counts(entry, "data_offsets", offsets) || offsets.size() != 2) {
    return "data_offsets is no pair of offsets";
  }
  const auto begin = static_cast<std::uint64_t>(offsets[0]);
  const auto end = static_cast<std::uint64_t>(offsets[1]);
  if (begin > end || end > data.size()) {
    return "data_offsets are " + std::to_string(begin) + " and " + std::to_string(end) +
           ", the file has " + std::to_string(data.size()) + " bytes of data";
  }
  std::uint64_t bytes = 0;
  const bool counted = count_bytes(tensor.shape, find_type(tensor.dtype_name)->bytes, bytes);
  if (!counted || bytes != end - begin) {
    return "shape and dtype do not make the " + std::to_string(end - begin) + " bytes it has";
  }
  tensor.data = data.subspan(begin, bytes);
  return "";
}

std::string read_tensor(const std::string& name, const Json& entry, std::span<const std::byte> data,
                        NamedTensor& tensor) {
  tensor.name = name;
  std::string wrong = entry.is_object() ? read_type(entry, tensor) : "entry is no object";
  if (wrong.empty()) wrong = read_place(entry, data, tensor);
  return wrong.empty() ? "" : shown(name) + ": " + wrong;
}

std::string read_metadata(const Json& entry, std::map<std::string, std::string>& metadata) {
  if (!entry.is_object()) return "__metadata__: is no object";
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) return "__metadata__: \"" + shown(key) + "\" is no text";
    metadata[key] = value.get<std::string>();
  }
  return "";
}

std::string read_entries(const Json& header, std::span<const std::byte> data, Safetensors& file) {
  for (const auto& [name, entry] : header.items()) {
    std::string wrong;
    if (name == "__metadata__") {
      wrong = read_metadata(entry, file.metadata);
    } else {
      wrong = read_tensor(name, entry, data, file.tensors.emplace_back());
    }
    if (!wrong.empty()) return wrong;
  }
  return "";
}

// Sorts tensors by place and sees that each begins where the one before ends.
std::string check_tiling(std::span<const std::byte> data, std::vector<NamedTensor>& tensors) {
  const auto place = [](const NamedTensor& t) { return std::pair(t.data.data(), t.data.size()); };
  std::sort(tensors.begin(), tensors.end(),
            [&](const NamedTensor& a, const NamedTensor& b) { return place(a) < place(b); });
  const std::byte* next = data.data();
  for (const NamedTensor& tensor : tensors) {
    if (tensor.data.data() < next) return shown(tensor.name) + ": overlaps another tensor";
    if (tensor.data.data() > next) return shown(tensor.name) + ": a gap lies before its data";
    next += tensor.data.size();
  }
  const auto rest = data.size() - static_cast<std::size_t>(next - data.data());
  return rest == 0 ? "" : "file: " + std::to_string(rest) + " bytes at its end are of no tensor";
}

std::string read_into(std::span<const std::byte> bytes, Safetensors& file) {
  if (bytes.size() < kPrefix) {
    return "file: has " + std::to_string(bytes.size()) + " bytes, a safetensors file has 8 or more";
  }
  const std::uint64_t length = little_endian(bytes);
  const std::uint64_t rest = bytes.size() - kPrefix;
  if (length > rest || length > kMaxHeader) {
    return "header: claims " + std::to_string(length) + " bytes, there are " +
           std::to_string(std::min(rest, kMaxHeader));
  }
  Json header;
  const auto data = bytes.subspan(kPrefix + length);
  std::string wrong = parse_header(bytes.subspan(kPrefix, length), header);
  if (wrong.empty()) wrong = read_entries(header, data, file);
  if (wrong.empty()) wrong = check_tiling(data, file.tensors);
  return wrong;
}

}  // namespace

const NamedTensor* Safetensors::find(const std::string& name) const {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const NamedTensor& tensor) { return tensor.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

Safetensors read_safetensors(std::span<const std::byte> bytes) {
  Safetensors file;
  std::string wrong = read_into(bytes, file);
  if (wrong.empty()) return file;
  Safetensors refused;
  refused.error = std::move(wrong);
  return refused;
}

std::string safetensors_header(const std::vector<NamedTensor>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const NamedTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", safetensors_dtype(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.data.size()}}};
    offset += tensor.data.size();
  }
  std::string json = header.dump();
  json.resize((json.size() + kPrefix - 1) / kPrefix * kPrefix, ' ');
  std::string prefix(kPrefix, '\0');
  for (std::size_t i = 0; i < kPrefix; ++i) prefix[i] = static_cast<char>(json.size() >> (8 * i));
  return prefix + json;
}

std::string safetensors_dtype(rapt_dtype dtype) {
  for (const FileType& type : kTypes) {
    if (type.dtype == dtype && dtype != RAPT_NONE) return type.name;
  }
  return "";
}

}  // namespace rapt::cli
