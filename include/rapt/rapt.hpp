// SPDX-License-Identifier: Apache-2.0 OR MIT
// rapt.hpp: the C++20 face of rapt.h, header-only. rapt.h says what every field and verb means;
// here they have the same names, defaults beside them, and types that a compiler can check.
//
//     rapt::Status status = rapt::attend({.q = q, .k = k, .v = v, .out = out,
//                                         .mask = rapt::Mask::causal()});
//     if (!status) std::puts(status.message().c_str());
//
// Views own nothing and say who writes: ConstTensorView in, TensorView out. A group that is not
// given is off. Nothing here throws, but for std::bad_alloc where a sentence or a list is copied.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "rapt/rapt.h"

namespace rapt {
inline namespace v0 {  // names of its own for the linker, whatever library a program also links

// ---------------------------------------------------------------------------------------------
// Status
// ---------------------------------------------------------------------------------------------

enum class Code : std::int32_t {
  ok = RAPT_OK,
  invalid_argument = RAPT_INVALID_ARGUMENT,
  unsupported = RAPT_UNSUPPORTED,
  out_of_memory = RAPT_OUT_OF_MEMORY,
  device_error = RAPT_DEVICE_ERROR,
  internal = RAPT_INTERNAL,
};

// The answer of every verb. True when the verb did its work; else a code and a sentence that begins
// with the field at fault.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  // From a verb of rapt.h, called just before on this thread.
  explicit Status(rapt_status status) : code_(static_cast<Code>(status)) {
    if (status != RAPT_OK) message_ = rapt_error_message();
  }

  [[nodiscard]] bool ok() const { return code_ == Code::ok; }
  [[nodiscard]] explicit operator bool() const { return ok(); }
  [[nodiscard]] Code code() const { return code_; }
  [[nodiscard]] const std::string& message() const { return message_; }

 private:
  Code code_ = Code::ok;
  std::string message_;
};

// ---------------------------------------------------------------------------------------------
// Tensors
// ---------------------------------------------------------------------------------------------

enum class DType : std::int32_t {
  none = RAPT_NONE,
  fp32 = RAPT_FP32,
  fp16 = RAPT_FP16,
  bf16 = RAPT_BF16,
  fp8_e4m3 = RAPT_FP8_E4M3,
  fp8_e5m2 = RAPT_FP8_E5M2,
  int8 = RAPT_INT8,
  int32 = RAPT_INT32,
  uint32 = RAPT_UINT32,
  int64 = RAPT_INT64,
};

struct Device {
  rapt_device_kind kind = RAPT_CPU;
  std::int32_t index = 0;
};

using Shape = std::initializer_list<std::int64_t>;

// Sizes of a [batch, len, heads, dim] view, named so that they cannot be swapped unseen. Ragged
// views leave batch alone: their len is the number of tokens.
struct Sizes {
  std::int64_t batch = 1;
  std::int64_t len = 0;
  std::int64_t heads = 0;
  std::int64_t dim = 0;
};

namespace detail {

template <typename T>
constexpr DType dtype_of() {
  using Element = std::remove_const_t<T>;
  if constexpr (std::is_same_v<Element, float>) return DType::fp32;
  if constexpr (std::is_same_v<Element, std::int8_t>) return DType::int8;
  if constexpr (std::is_same_v<Element, std::int32_t>) return DType::int32;
  if constexpr (std::is_same_v<Element, std::uint32_t>) return DType::uint32;
  if constexpr (std::is_same_v<Element, std::int64_t>) return DType::int64;
  return DType::none;
}

// C++ types that name one dtype each; 16-bit and 8-bit floats have none before C++23.
template <typename T>
concept Element = dtype_of<T>() != DType::none;

inline rapt_tensor packed(const void* data, DType dtype, Shape shape) {
  return rapt_packed(const_cast<void*>(data), static_cast<rapt_dtype>(dtype),
                     static_cast<std::int32_t>(shape.size()), shape.begin());
}

inline rapt_tensor ordered(const void* data, DType dtype, rapt_order order, const Sizes& s) {
  return rapt_view(const_cast<void*>(data), static_cast<rapt_dtype>(dtype), order, s.batch, s.len,
                   s.heads, s.dim);
}

}  // namespace detail

namespace detail {

// What both kinds of view have.
template <typename View, typename Pointer>
class ViewBase {
 public:
  // Packed buffers in the four usual orders, seen as [batch, len, heads, dim] or [tokens, heads,
  // dim].
  static View bshd(Pointer data, DType dtype, const Sizes& sizes) {
    return View(ordered(data, dtype, RAPT_BSHD, sizes));
  }
  static View bhsd(Pointer data, DType dtype, const Sizes& sizes) {
    return View(ordered(data, dtype, RAPT_BHSD, sizes));
  }
  static View thd(Pointer data, DType dtype, const Sizes& sizes) {
    return View(ordered(data, dtype, RAPT_THD, sizes));
  }
  static View htd(Pointer data, DType dtype, const Sizes& sizes) {
    return View(ordered(data, dtype, RAPT_HTD, sizes));
  }

  // The same view of memory on another device; default: the CPU.
  [[nodiscard]] View on(Device device) const {
    rapt_tensor moved = raw_;
    moved.device_kind = device.kind;
    moved.device_index = device.index;
    return View(moved);
  }

  [[nodiscard]] const rapt_tensor& raw() const { return raw_; }

 protected:
  ViewBase() = default;
  explicit ViewBase(const rapt_tensor& raw) : raw_(raw) {}

 private:
  rapt_tensor raw_ = {};
};

}  // namespace detail

// A strided view of memory that rapt writes. Default: not given.
class TensorView : public detail::ViewBase<TensorView, void*> {
 public:
  TensorView() = default;
  // Packed, row-major.
  TensorView(void* data, DType dtype, Shape shape) : ViewBase(detail::packed(data, dtype, shape)) {}
  template <detail::Element T>
    requires(!std::is_const_v<T>)
  TensorView(T* data, Shape shape) : TensorView(data, detail::dtype_of<T>(), shape) {}
  // Any strides, in elements.
  explicit TensorView(const rapt_tensor& raw) : ViewBase(raw) {}
};

// The same of memory that rapt only reads.
class ConstTensorView : public detail::ViewBase<ConstTensorView, const void*> {
 public:
  ConstTensorView() = default;
  ConstTensorView(const TensorView& view)
      : ViewBase(view.raw()) {}  // what may be written may be read
  ConstTensorView(const void* data, DType dtype, Shape shape)
      : ViewBase(detail::packed(data, dtype, shape)) {}
  template <detail::Element T>
  ConstTensorView(const T* data, Shape shape)
      : ConstTensorView(data, detail::dtype_of<T>(), shape) {}
  explicit ConstTensorView(const rapt_tensor& raw) : ViewBase(raw) {}
};

// ---------------------------------------------------------------------------------------------
// The feature groups; shapes and meaning stand in rapt.h beside the C struct of the same name
// ---------------------------------------------------------------------------------------------

inline constexpr std::int64_t kUnbounded = RAPT_UNBOUNDED;

// The band of keys around a query's position that it sees.
struct Mask {
  std::int64_t left = kUnbounded;
  std::int64_t right = kUnbounded;
  std::int64_t sink_tokens = 0;

  // The query's own position and everything before it.
  static constexpr Mask causal() { return {.left = kUnbounded, .right = 0}; }
  // `width` keys, self included.
  static constexpr Mask sliding(std::int64_t width) { return {.left = width - 1, .right = 0}; }
};

struct Softcap {
  float cap = 0;
};
struct Alibi {
  ConstTensorView slopes = {};
};
struct Bias {
  ConstTensorView bias = {};
};
struct Sinks {
  ConstTensorView sinks = {};
};
struct Dropout {
  float probability = 0;
  std::uint64_t seed = 0;
  std::uint64_t offset = 0;
};
struct Descale {
  ConstTensorView q = {};
  ConstTensorView k = {};
  ConstTensorView v = {};
};
struct Ragged {
  ConstTensorView q_offsets = {};
  ConstTensorView kv_offsets = {};
  std::int64_t max_q_len = 0;
  std::int64_t max_kv_len = 0;
};

enum class PageLayout : std::int32_t {
  page_head_dim = RAPT_PAGE_HEAD_DIM,
  head_page_dim = RAPT_HEAD_PAGE_DIM,
  head_dim_page = RAPT_HEAD_DIM_PAGE,
  x_packed = RAPT_X_PACKED,
};

struct Pages {
  ConstTensorView table = {};
  PageLayout layout = PageLayout::page_head_dim;
  std::int64_t page_size = 0;
};
struct Lengths {
  ConstTensorView q_len = {};
  ConstTensorView kv_len = {};
  ConstTensorView cache_row = {};
  ConstTensorView left_pad = {};
};
struct Positions {
  ConstTensorView q_start = {};
  ConstTensorView kv_start = {};
};

// ---------------------------------------------------------------------------------------------
// The problem
// ---------------------------------------------------------------------------------------------

// One attention problem. Fields left out keep the default beside them; q, k, v and out are
// required.
struct Attention {
  ConstTensorView q = {};           // [batch, q_len, q_heads, head_dim]
  ConstTensorView k = {};           // [batch, kv_len, kv_heads, head_dim]
  ConstTensorView v = {};           // [batch, kv_len, kv_heads, value_dim]
  TensorView out = {};              // [batch, q_len, q_heads, value_dim]
  TensorView lse = {};              // FP32 [batch, q_heads, q_len]; default: not written
  std::optional<float> scale = {};  // default: 1 / sqrt(head_dim)
  std::optional<Mask> mask = {};    // default: every key
  std::optional<Softcap> softcap = {};
  std::optional<Alibi> alibi = {};
  std::optional<Bias> bias = {};
  std::optional<Sinks> sinks = {};
  std::optional<Dropout> dropout = {};
  std::optional<Descale> descale = {};
  std::optional<Ragged> ragged = {};
  std::optional<Pages> pages = {};
  std::optional<Lengths> lengths = {};
  std::optional<Positions> positions = {};
};

// The backward of one problem: forward's out and lse are inputs here.
struct Gradient {
  Attention forward = {};
  ConstTensorView d_out = {};
  TensorView dq = {};
  TensorView dk = {};
  TensorView dv = {};
  TensorView d_bias = {};  // default: not written; the same for the two below
  TensorView d_sinks = {};
  TensorView d_slopes = {};
};

struct Options {
  const char* backend = nullptr;  // default: RAPT_BACKEND, else chosen by rapt
  const char* kernel = nullptr;   // default: the first that takes the problem
  void* stream = nullptr;
  std::int32_t threads = 0;  // default: RAPT_THREADS, else the CPUs that this process may use
  rapt_parallel_for parallel_for = nullptr;
  void* parallel_context = nullptr;
};

// The largest step of a plan; 0 takes the value from the problem's shapes.
struct Bounds {
  std::int64_t batch = 0;
  std::int64_t q_tokens = 0;
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;
};

// One step's lengths, in host memory; empty takes them from the problem's shapes. Where both are
// given they have one entry a sequence each.
struct Step {
  std::span<const std::int64_t> q_len = {};
  std::span<const std::int64_t> kv_len = {};
};

// What is compiled ahead: kernels that usual models run, or every one there is.
enum class Preset : std::int32_t {
  common = RAPT_PRESET_COMMON,
  all = RAPT_PRESET_ALL,
};

struct Rope {
  ConstTensorView cos = {};
  ConstTensorView sin = {};
  ConstTensorView positions = {};
  std::int64_t rotary_dim = 0;
  bool interleaved = false;
};

// New tokens for a paged cache.
struct Append {
  ConstTensorView k = {};
  ConstTensorView v = {};
  TensorView k_cache = {};
  TensorView v_cache = {};
  ConstTensorView slots = {};
  PageLayout layout = PageLayout::page_head_dim;
  std::int64_t page_size = 0;
  std::optional<Rope> rope = {};
  ConstTensorView q = {};  // with rope: rotated into q_out
  TensorView q_out = {};
};

// One part of a merge.
struct Part {
  ConstTensorView out = {};
  ConstTensorView lse = {};
};

// ---------------------------------------------------------------------------------------------
// How the C structs are made; they live on the stack of the verb, so a run allocates nothing
// ---------------------------------------------------------------------------------------------

namespace detail {

template <typename T>
void begin(T& c) {
  c = {};
  c.struct_size = sizeof(T);
}

inline void fill(rapt_mask& c, const Mask& m) {
  c.left = m.left;
  c.right = m.right;
  c.sink_tokens = m.sink_tokens;
}
inline void fill(rapt_softcap& c, const Softcap& s) { c.cap = s.cap; }
inline void fill(rapt_alibi& c, const Alibi& a) { c.slopes = a.slopes.raw(); }
inline void fill(rapt_bias& c, const Bias& b) { c.bias = b.bias.raw(); }
inline void fill(rapt_sinks& c, const Sinks& s) { c.sinks = s.sinks.raw(); }
inline void fill(rapt_dropout& c, const Dropout& d) {
  c.probability = d.probability;
  c.seed = d.seed;
  c.offset = d.offset;
}
inline void fill(rapt_descale& c, const Descale& d) {
  c.q = d.q.raw();
  c.k = d.k.raw();
  c.v = d.v.raw();
}
inline void fill(rapt_ragged& c, const Ragged& r) {
  c.q_offsets = r.q_offsets.raw();
  c.kv_offsets = r.kv_offsets.raw();
  c.max_q_len = r.max_q_len;
  c.max_kv_len = r.max_kv_len;
}
inline void fill(rapt_pages& c, const Pages& p) {
  c.table = p.table.raw();
  c.layout = static_cast<rapt_page_layout>(p.layout);
  c.page_size = p.page_size;
}
inline void fill(rapt_lengths& c, const Lengths& l) {
  c.q_len = l.q_len.raw();
  c.kv_len = l.kv_len.raw();
  c.cache_row = l.cache_row.raw();
  c.left_pad = l.left_pad.raw();
}
inline void fill(rapt_positions& c, const Positions& p) {
  c.q_start = p.q_start.raw();
  c.kv_start = p.kv_start.raw();
}
inline void fill(rapt_rope& c, const Rope& r) {
  c.cos = r.cos.raw();
  c.sin = r.sin.raw();
  c.positions = r.positions.raw();
  c.rotary_dim = r.rotary_dim;
  c.interleaved = r.interleaved ? 1 : 0;
}

// A C group for a C++ group that is given, else null.
template <typename C, typename Group>
const C* group(C& c, const std::optional<Group>& given) {
  if (!given) return nullptr;
  begin(c);
  fill(c, *given);
  return &c;
}

class CAttention {
 public:
  explicit CAttention(const Attention& a) {
    begin(c_);
    c_.q = a.q.raw();
    c_.k = a.k.raw();
    c_.v = a.v.raw();
    c_.out = a.out.raw();
    c_.lse = a.lse.raw();
    c_.scale = a.scale ? &*a.scale : nullptr;
    c_.mask = group(mask_, a.mask);
    c_.softcap = group(softcap_, a.softcap);
    c_.alibi = group(alibi_, a.alibi);
    c_.bias = group(bias_, a.bias);
    c_.sinks = group(sinks_, a.sinks);
    c_.dropout = group(dropout_, a.dropout);
    c_.descale = group(descale_, a.descale);
    c_.ragged = group(ragged_, a.ragged);
    c_.pages = group(pages_, a.pages);
    c_.lengths = group(lengths_, a.lengths);
    c_.positions = group(positions_, a.positions);
  }
  CAttention(const CAttention&) = delete;
  CAttention& operator=(const CAttention&) = delete;

  [[nodiscard]] const rapt_attention* get() const { return &c_; }

 private:
  rapt_attention c_;
  rapt_mask mask_;
  rapt_softcap softcap_;
  rapt_alibi alibi_;
  rapt_bias bias_;
  rapt_sinks sinks_;
  rapt_dropout dropout_;
  rapt_descale descale_;
  rapt_ragged ragged_;
  rapt_pages pages_;
  rapt_lengths lengths_;
  rapt_positions positions_;
};

inline rapt_options c_options(const Options& o) {
  rapt_options c;
  begin(c);
  c.backend = o.backend;
  c.kernel = o.kernel;
  c.stream = o.stream;
  c.threads = o.threads;
  c.parallel_for = o.parallel_for;
  c.parallel_context = o.parallel_context;
  return c;
}

}  // namespace detail

// ---------------------------------------------------------------------------------------------
// The verbs
// ---------------------------------------------------------------------------------------------

// out (and lse) of one problem, now.
inline Status attend(const Attention& problem, const Options& options = {}) {
  const detail::CAttention c(problem);
  const rapt_options o = detail::c_options(options);
  return Status(rapt_attend(c.get(), &o));
}

// Gradients of one problem.
inline Status attend_backward(const Gradient& gradient, const Options& options = {}) {
  const detail::CAttention forward(gradient.forward);
  const rapt_options o = detail::c_options(options);
  rapt_gradient c;
  detail::begin(c);
  c.forward = forward.get();
  c.d_out = gradient.d_out.raw();
  c.dq = gradient.dq.raw();
  c.dk = gradient.dk.raw();
  c.dv = gradient.dv.raw();
  c.d_bias = gradient.d_bias.raw();
  c.d_sinks = gradient.d_sinks.raw();
  c.d_slopes = gradient.d_slopes.raw();
  return Status(rapt_attend_backward(&c, &o));
}

// A schedule, reusable for every layer that shares its lengths. Moves, does not copy; frees itself.
//
//     rapt::Plan plan;
//     rapt::Status s = plan.create(problem, {.kv_len = 8192});
//     ... plan.workspace_bytes() bytes, 64-byte aligned ...
//     s = plan.upload({.q_len = q_len, .kv_len = kv_len}, workspace);  // once a step
//     s = plan.run(problem, workspace);                                // once a layer
class Plan {
 public:
  Plan() = default;

  // Pure host arithmetic: reads shapes and bounds, never tensor data. Replaces what the plan held.
  Status create(const Attention& problem, const Bounds& bounds = {}, const Options& options = {}) {
    const detail::CAttention c(problem);
    const rapt_options o = detail::c_options(options);
    const rapt_bounds b = {sizeof(rapt_bounds), bounds.batch, bounds.q_tokens, bounds.q_len,
                           bounds.kv_len};
    rapt_plan* plan = nullptr;
    Status status(rapt_plan_create(c.get(), &b, &o, &plan));
    plan_.reset(plan);
    return status;
  }

  [[nodiscard]] explicit operator bool() const { return plan_ != nullptr; }
  [[nodiscard]] std::size_t workspace_bytes() const {
    return rapt_plan_workspace_bytes(plan_.get());
  }
  // "cpu/avx512_forward"; lives as long as the plan.
  [[nodiscard]] std::string_view kernel() const { return rapt_plan_kernel(plan_.get()); }

  // Takes this step's lengths, loads what is missing, and makes one asynchronous copy into
  // workspace.
  Status upload(const Step& step, std::span<std::byte> workspace, const Options& options = {}) {
    const std::size_t batch = std::max(step.q_len.size(), step.kv_len.size());
    for (const std::size_t size : {step.q_len.size(), step.kv_len.size()}) {
      if (size == 0 || size == batch) continue;
      return {Code::invalid_argument, "step: q_len has " + std::to_string(step.q_len.size()) +
                                          " entries, kv_len " + std::to_string(step.kv_len.size())};
    }
    const rapt_options o = detail::c_options(options);
    const rapt_step s = {sizeof(rapt_step), static_cast<std::int64_t>(batch),
                         step.q_len.empty() ? nullptr : step.q_len.data(),
                         step.kv_len.empty() ? nullptr : step.kv_len.data()};
    return Status(rapt_upload(plan_.get(), &s, workspace.data(), workspace.size(), &o));
  }

  // Launches only: no allocation, no copy, no synchronisation.
  Status run(const Attention& problem, std::span<std::byte> workspace,
             const Options& options = {}) const {
    const detail::CAttention c(problem);
    const rapt_options o = detail::c_options(options);
    return Status(rapt_run(plan_.get(), c.get(), workspace.data(), workspace.size(), &o));
  }

 private:
  struct Free {
    void operator()(rapt_plan* plan) const { rapt_plan_free(plan); }
  };
  std::unique_ptr<rapt_plan, Free> plan_;
};

// Compiles and loads ahead what the problem needs; tensor data may be null.
inline Status prepare(const Attention& problem, const Options& options = {}) {
  const detail::CAttention c(problem);
  const rapt_options o = detail::c_options(options);
  return Status(rapt_prepare(c.get(), &o));
}

// Fills the cache of compiled kernels for CUDA architectures, "sm_80,sm_90a" say, whose GPUs need
// not be here; only kernels named `kernel`, if it is not null ("cuda/combine", or behind it a
// configuration). `on_compiled` is told of each; it must not throw. `list_only` compiles nothing.
inline Status compile(const char* archs, Preset preset = Preset::common,
                      const std::function<void(const rapt_compiled&)>& on_compiled = {},
                      const char* kernel = nullptr, bool list_only = false) {
  rapt_compile_args c;
  detail::begin(c);
  c.archs = archs;
  c.preset = static_cast<rapt_preset>(preset);
  c.kernel = kernel;
  c.list_only = list_only ? 1 : 0;
  c.context = const_cast<void*>(static_cast<const void*>(&on_compiled));
  c.on_compiled = [](void* context, const rapt_compiled* compiled) {
    const auto& told = *static_cast<const std::function<void(const rapt_compiled&)>*>(context);
    if (told) told(*compiled);
  };
  return Status(rapt_compile(&c));
}

// Which kernel would run and why each other one would not, as JSON; tensor data may be null.
inline Status explain(const Attention& problem, std::string& json, const Options& options = {}) {
  const detail::CAttention c(problem);
  const rapt_options o = detail::c_options(options);
  std::size_t needed = 0;
  std::string text(4096, '\0');
  rapt_status status = rapt_explain(c.get(), &o, text.data(), text.size(), &needed);
  if (needed > text.size()) {
    text.resize(needed);
    status = rapt_explain(c.get(), &o, text.data(), text.size(), &needed);
  }
  if (status == RAPT_OK) json.assign(text, 0, needed - 1);
  return Status(status);
}

// Writes new tokens into a paged cache.
inline Status append(const Append& tokens, const Options& options = {}) {
  const rapt_options o = detail::c_options(options);
  rapt_rope rope;
  rapt_append_args c;
  detail::begin(c);
  c.k = tokens.k.raw();
  c.v = tokens.v.raw();
  c.k_cache = tokens.k_cache.raw();
  c.v_cache = tokens.v_cache.raw();
  c.slots = tokens.slots.raw();
  c.layout = static_cast<rapt_page_layout>(tokens.layout);
  c.page_size = tokens.page_size;
  c.rope = detail::group(rope, tokens.rope);
  c.q = tokens.q.raw();
  c.q_out = tokens.q_out.raw();
  return Status(rapt_append(&c, &o));
}

// Within one cache, page pairs[i][0] onto page pairs[i][1].
inline Status copy_pages(const TensorView& cache, const ConstTensorView& pairs,
                         const Options& options = {}) {
  const rapt_options o = detail::c_options(options);
  return Status(rapt_copy_pages(&cache.raw(), &pairs.raw(), &o));
}

// From one cache into another.
inline Status swap_pages(const ConstTensorView& from, const TensorView& to,
                         const ConstTensorView& pairs, const Options& options = {}) {
  const rapt_options o = detail::c_options(options);
  return Status(rapt_swap_pages(&from.raw(), &to.raw(), &pairs.raw(), &o));
}

// Fills pages with zeros.
inline Status clear_pages(const TensorView& cache, const ConstTensorView& pages,
                          const Options& options = {}) {
  const rapt_options o = detail::c_options(options);
  return Status(rapt_clear_pages(&cache.raw(), &pages.raw(), &o));
}

// Combines attention over disjoint sets of keys into attention over their union.
inline Status merge(std::span<const Part> parts, const TensorView& merged_out,
                    const TensorView& merged_lse = {}, const Options& options = {}) {
  const rapt_options o = detail::c_options(options);
  std::vector<rapt_tensor> out;
  std::vector<rapt_tensor> lse;
  for (const Part& part : parts) {
    out.push_back(part.out.raw());
    lse.push_back(part.lse.raw());
  }
  rapt_merge_args c;
  detail::begin(c);
  c.count = static_cast<std::int64_t>(parts.size());
  c.out = out.data();
  c.lse = lse.data();
  c.merged_out = merged_out.raw();
  c.merged_lse = merged_lse.raw();
  return Status(rapt_merge(&c, &o));
}

// Every device of every backend, usable or not.
inline Status devices(std::vector<rapt_device_info>& list) {
  std::size_t count = 0;
  Status status(rapt_devices(nullptr, 0, &count));
  if (!status) return status;
  list.assign(count, rapt_device_info{});
  for (rapt_device_info& info : list) info.struct_size = sizeof info;
  return Status(rapt_devices(list.data(), list.size(), &count));
}

}  // namespace v0
}  // namespace rapt
