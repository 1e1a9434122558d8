// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tensors of a file and words of the grammar, made into one rapt_attention. Sizes come from the
// file; a word that repeats one must agree.
#include "cli/file_problem.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <set>
#include <sstream>

#include "cli/failure.h"
#include "cli/files.h"

namespace rapt::cli {
namespace {

// Every tensor with a meaning; all others are ignored, and reported.
constexpr const char* kTensors[] = {"q",      "k",     "v",         "bias",
                                    "slopes", "sinks", "q_offsets", "kv_offsets"};

// Keys that say what to compute, and keys that the file answers.
const std::set<std::string> kFunctionKeys = {"mask", "left",     "right",   "sink_tokens",
                                             "lse",  "scale",    "softcap", "dropout",
                                             "seed", "out_dtype"};
const std::set<std::string> kSizeKeys = {"dtype",   "batch",    "q_len",    "kv_len",
                                         "q_heads", "kv_heads", "head_dim", "value_dim"};

std::set<std::string> key_names(const std::string& text) {
  std::set<std::string> names;
  std::istringstream words(text);
  for (std::string word; words >> word;) names.insert(word.substr(0, word.find('=')));
  return names;
}

// The keys as a case; `given` receives the names of those that were written.
kit::Case read_keys(const std::vector<std::string>& words, std::set<std::string>& given) {
  std::string text;
  for (const std::string& word : words) text += word + " ";
  kit::Case keys;
  const std::string wrong = kit::parse_case(text, keys);
  if (!wrong.empty()) throw Failure(kUsage, wrong);
  given = key_names(text);
  for (const std::string& key : given) {
    if (kFunctionKeys.contains(key) || kSizeKeys.contains(key)) continue;
    throw Failure(kUsage, key + ": not a key for a problem that comes from a file");
  }
  return keys;
}

InputFile read_input(const char* field, const std::string& path) {
  InputFile file{read_file(field, path), {}};
  file.tensors = read_safetensors(file.bytes);
  if (!file.tensors.error.empty()) {
    throw Failure(kInvalidArgument, std::string(field) + ": " + path +
                                        " is no safetensors file: " + file.tensors.error);
  }
  return file;
}

const NamedTensor& need(const InputFile& file, const std::string& name) {
  const NamedTensor* tensor = file.tensors.find(name);
  if (tensor == nullptr) throw Failure(kInvalidArgument, name + ": the file has no such tensor");
  if (tensor->dtype == RAPT_NONE) {
    throw Failure(kInvalidArgument,
                  name + ": dtype is " + tensor->dtype_name + ", which rapt does not know");
  }
  if (tensor->shape.empty() || tensor->shape.size() > RAPT_MAX_RANK) {
    throw Failure(kInvalidArgument, name + ": rank is " + std::to_string(tensor->shape.size()) +
                                        ", wanted 1 to " + std::to_string(RAPT_MAX_RANK));
  }
  return *tensor;
}

void require_equal(const std::set<std::string>& given, const char* key, std::int64_t asked,
                   std::int64_t found) {
  if (asked == found || !given.contains(key)) return;
  throw Failure(kInvalidArgument, std::string(key) + ": is " + std::to_string(asked) +
                                      ", the file has " + std::to_string(found));
}

void check_sizes(const kit::Case& keys, const std::set<std::string>& given,
                 const rapt_attention& a) {
  const int batch_rank = a.ragged != nullptr ? 0 : 1;  // dimensions in front of the tokens
  const std::int64_t batch = a.ragged != nullptr ? a.ragged->q_offsets.shape[0] - 1 : a.q.shape[0];
  require_equal(given, "dtype", keys.dtype, a.q.dtype);
  require_equal(given, "batch", keys.batch, batch);
  require_equal(given, "q_len", keys.q_len, a.q.shape[batch_rank]);
  require_equal(given, "kv_len", keys.kv_len, a.k.shape[batch_rank]);
  require_equal(given, "q_heads", keys.q_heads, a.q.shape[batch_rank + 1]);
  require_equal(given, "kv_heads", keys.kv_heads, a.k.shape[batch_rank + 1]);
  require_equal(given, "head_dim", keys.head_dim, a.q.shape[batch_rank + 2]);
  require_equal(given, "value_dim", keys.value_dim, a.v.shape[batch_rank + 2]);
}

bool is_float(rapt_dtype dtype) { return dtype >= RAPT_FP32 && dtype <= RAPT_FP8_E5M2; }

// Bytes of a packed tensor that the library has found valid, and whose size therefore can be
// counted.
std::size_t bytes_of(const rapt_tensor& tensor) {
  std::size_t bytes = rapt_dtype_bytes(tensor.dtype);
  for (int i = 0; i < tensor.rank; ++i) bytes *= static_cast<std::size_t>(tensor.shape[i]);
  return bytes;
}

NamedTensor named(const char* name, const rapt_tensor& tensor, int skip) {
  NamedTensor result;
  result.name = name;
  result.dtype = tensor.dtype;
  result.shape.assign(tensor.shape + skip, tensor.shape + tensor.rank);
  result.data = {static_cast<const std::byte*>(tensor.data), bytes_of(tensor)};
  return result;
}

}  // namespace

FileProblem::FileProblem(const std::string& path, const std::vector<std::string>& words,
                         const std::string& d_out_path) {
  std::set<std::string> given;
  keys_ = read_keys(words, given);
  if (!given.contains("out_dtype")) keys_.out_dtype = RAPT_NONE;
  file_ = read_input("input", path);
  attention_.struct_size = sizeof attention_;
  take_offsets();
  take_rows();
  take_features();
  take_keys();
  check_sizes(keys_, given, attention_);
  if (!d_out_path.empty()) take_gradient(d_out_path);
}

// A file may begin a tensor at any byte; the library reads whole elements.
rapt_tensor FileProblem::view(const NamedTensor& tensor) {
  auto* data = const_cast<std::byte*>(tensor.data.data());
  if (reinterpret_cast<std::uintptr_t>(data) % rapt_dtype_bytes(tensor.dtype) != 0) {
    data = allocate(tensor.data.size());
    std::copy(tensor.data.begin(), tensor.data.end(), data);
  }
  return rapt_packed(data, tensor.dtype, static_cast<std::int32_t>(tensor.shape.size()),
                     tensor.shape.data());
}

// q, k, v or d_out: rank 3 is a batch of one, unless offsets make it ragged.
rapt_tensor FileProblem::view_rows(const InputFile& file, const std::string& name) {
  NamedTensor tensor = need(file, name);
  const std::size_t rank_of_q = need(file_, "q").shape.size();
  const std::size_t rank = tensor.shape.size();
  const bool ragged = attention_.ragged != nullptr;
  if (!is_float(tensor.dtype)) {
    throw Failure(kInvalidArgument,
                  name + ": dtype is " + tensor.dtype_name + ", wanted F32, F16 or BF16");
  }
  if (rank != 3 && (rank != 4 || ragged)) {
    throw Failure(kInvalidArgument, name + ": rank is " + std::to_string(rank) + ", wanted " +
                                        (ragged ? "3, since offsets are given" : "3 or 4"));
  }
  if (rank != rank_of_q) {
    throw Failure(kInvalidArgument, name + ": rank is " + std::to_string(rank) + ", q has " +
                                        std::to_string(rank_of_q));
  }
  if (rank == 3 && !ragged) tensor.shape.insert(tensor.shape.begin(), 1);
  return view(tensor);
}

void FileProblem::take_offsets() {
  if (!file_.tensors.find("q_offsets") && !file_.tensors.find("kv_offsets")) return;
  ragged_ = {sizeof ragged_, view(need(file_, "q_offsets")), view(need(file_, "kv_offsets")), 0, 0};
  attention_.ragged = &ragged_;
}

void FileProblem::take_rows() {
  rapt_attention& a = attention_;
  a.q = view_rows(file_, "q");
  a.k = view_rows(file_, "k");
  a.v = view_rows(file_, "v");
  std::int64_t shape[RAPT_MAX_RANK];
  std::copy(a.q.shape, a.q.shape + a.q.rank, shape);
  shape[a.q.rank - 1] = a.v.shape[a.v.rank - 1];
  const rapt_dtype dtype = keys_.out_dtype == RAPT_NONE ? a.q.dtype : keys_.out_dtype;
  a.out = rapt_packed(nullptr, dtype, a.q.rank, shape);
  if (!keys_.lse) return;
  const int tokens = a.q.rank - 3;  // lse is out without dim, heads before tokens
  std::swap(shape[tokens], shape[tokens + 1]);
  a.lse = rapt_packed(nullptr, RAPT_FP32, a.q.rank - 1, shape);
}

void FileProblem::take_features() {
  if (file_.tensors.find("bias") != nullptr) {
    bias_ = {sizeof bias_, view(need(file_, "bias"))};
    attention_.bias = &bias_;
  }
  if (file_.tensors.find("slopes") != nullptr) {
    alibi_ = {sizeof alibi_, view(need(file_, "slopes"))};
    attention_.alibi = &alibi_;
  }
  if (file_.tensors.find("sinks") != nullptr) {
    sinks_ = {sizeof sinks_, view(need(file_, "sinks"))};
    attention_.sinks = &sinks_;
  }
}

void FileProblem::take_keys() {
  const std::int64_t right = keys_.mask == "causal" ? 0 : keys_.right;
  mask_ = {sizeof mask_, keys_.left, right, keys_.sink_tokens};
  softcap_ = {sizeof softcap_, static_cast<float>(keys_.softcap)};
  dropout_ = {sizeof dropout_, static_cast<float>(keys_.dropout), keys_.seed, 0};
  scale_ = static_cast<float>(keys_.scale);
  if (keys_.mask != "full" || keys_.sink_tokens != 0) attention_.mask = &mask_;
  if (keys_.softcap != 0) attention_.softcap = &softcap_;
  if (keys_.dropout != 0) attention_.dropout = &dropout_;
  if (keys_.scale != 0) attention_.scale = &scale_;
}

void FileProblem::take_gradient(const std::string& d_out_path) {
  d_out_file_ = read_input("d_out", d_out_path);
  const auto like = [](const rapt_tensor& t, rapt_dtype dtype) {
    return t.dtype == RAPT_NONE ? t : rapt_packed(nullptr, dtype, t.rank, t.shape);
  };
  rapt_gradient& g = gradient_;
  g.struct_size = sizeof g;
  g.forward = &attention_;
  g.d_out = view_rows(d_out_file_, "d_out");
  g.dq = like(attention_.q, attention_.q.dtype);
  g.dk = like(attention_.k, attention_.k.dtype);
  g.dv = like(attention_.v, attention_.v.dtype);
  g.d_bias = like(bias_.bias, RAPT_FP32);
  g.d_sinks = like(sinks_.sinks, RAPT_FP32);
  g.d_slopes = like(alibi_.slopes, RAPT_FP32);
}

std::byte* FileProblem::allocate(std::size_t bytes) {
  memory_.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
  return memory_.back().get();
}

void FileProblem::make_outputs() {
  rapt_gradient& g = gradient_;
  for (rapt_tensor* tensor : {&attention_.out, &attention_.lse, &g.dq, &g.dk, &g.dv, &g.d_bias,
                              &g.d_sinks, &g.d_slopes}) {
    if (tensor->dtype == RAPT_NONE) continue;
    tensor->data = allocate(bytes_of(*tensor));
    std::memset(tensor->data, 0xFF, bytes_of(*tensor));  // NaN in every floating-point type
  }
}

std::vector<NamedTensor> FileProblem::results() const {
  const bool one_sequence = need(file_, "q").shape.size() == 3 && attention_.ragged == nullptr;
  std::vector<NamedTensor> results;
  const auto add = [&results](const char* name, const rapt_tensor& tensor, int skip) {
    if (tensor.dtype != RAPT_NONE) results.push_back(named(name, tensor, skip));
  };
  const int skip = one_sequence ? 1 : 0;
  const rapt_gradient& g = gradient_;
  add("out", attention_.out, skip);
  add("lse", attention_.lse, skip);
  add("dq", g.dq, skip);
  add("dk", g.dk, skip);
  add("dv", g.dv, skip);
  add("d_bias", g.d_bias, 0);
  add("d_sinks", g.d_sinks, 0);
  add("d_slopes", g.d_slopes, 0);
  return results;
}

std::vector<std::string> FileProblem::unused() const {
  std::vector<std::string> names;
  for (const NamedTensor& tensor : file_.tensors.tensors) {
    const auto* known = std::find(std::begin(kTensors), std::end(kTensors), tensor.name);
    // d_out may come from the same file.
    const bool used = known != std::end(kTensors) || (tensor.name == "d_out" && gradient());
    if (!used) names.push_back(tensor.name);
  }
  return names;
}

}  // namespace rapt::cli
