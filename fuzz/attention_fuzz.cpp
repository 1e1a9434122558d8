// SPDX-License-Identifier: Apache-2.0 OR MIT
// Attention problems with every group, from any bytes: whatever a caller says, the verbs answer and
// touch nothing that was not lent.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "bytes.h"
#include "caller.h"
#include "rapt/rapt.h"

namespace rapt::fuzz {
namespace {

struct Sizes {
  rapt_dtype dtype;
  std::int64_t batch, q_len, kv_len, q_heads, kv_heads, head_dim, value_dim;
};

class Attention {
 public:
  Attention(Bytes& bytes, Caller& caller) : bytes_(bytes), caller_(caller) {}

  rapt_attention* build() {
    choose_sizes();
    problem_ = caller_.make<rapt_attention>();
    choose_queries();
    choose_keys();
    choose_scores();
    choose_softmax();
    choose_places();
    return problem_;
  }

  rapt_gradient* build_gradient() {
    auto* gradient = caller_.make<rapt_gradient>();
    const rapt_attention* forward = build();
    gradient->forward = forward;
    gradient->d_out = like(forward->out);
    gradient->dq = like(forward->q);
    gradient->dk = like(forward->k);
    gradient->dv = like(forward->v);
    if (forward->bias != nullptr) gradient->d_bias = sums_like(forward->bias->bias);
    if (forward->sinks != nullptr) gradient->d_sinks = sums_like(forward->sinks->sinks);
    if (forward->alibi != nullptr) gradient->d_slopes = sums_like(forward->alibi->slopes);
    return gradient;
  }

  [[nodiscard]] const Sizes& sizes() const { return sizes_; }

 private:
  void choose_sizes() {
    sizes_.dtype =
        static_cast<rapt_dtype>(bytes_.rare() ? bytes_.range(0, 12) : bytes_.range(1, 3));
    sizes_.batch = bytes_.range(0, 3);
    sizes_.q_len = bytes_.range(0, 9);
    sizes_.kv_len = bytes_.range(0, 40);
    sizes_.kv_heads = bytes_.range(1, 2);
    sizes_.q_heads = sizes_.kv_heads * bytes_.range(1, 3);
    sizes_.head_dim = 8 * bytes_.range(1, 3);
    sizes_.value_dim = bytes_.flag() ? sizes_.head_dim : 8 * bytes_.range(1, 3);
  }

  void choose_queries() {
    const auto& [dtype, batch, q_len, kv_len, q_heads, kv_heads, head_dim, value_dim] = sizes_;
    ragged_ = bytes_.flag();
    const std::int64_t tokens = batch * q_len;
    const rapt_dtype out = bytes_.rare() ? RAPT_FP32 : dtype;
    if (ragged_) {
      problem_->q = caller_.tensor(dtype, {tokens, q_heads, head_dim});
      problem_->out = caller_.tensor(out, {tokens, q_heads, value_dim});
      problem_->lse = caller_.maybe(RAPT_FP32, {q_heads, tokens});
    } else {
      problem_->q = caller_.tensor(dtype, {batch, q_len, q_heads, head_dim});
      problem_->out = caller_.tensor(out, {batch, q_len, q_heads, value_dim});
      problem_->lse = caller_.maybe(RAPT_FP32, {batch, q_heads, q_len});
    }
    if (bytes_.rare()) problem_->out = problem_->q;
  }

  void choose_keys() {
    const std::int64_t kind = bytes_.range(0, 2);
    if (kind == 0) choose_pages();
    if (kind == 1 || (kind == 2 && !ragged_)) choose_dense_keys();
    if (!ragged_) return;
    auto* group = caller_.make<rapt_ragged>();
    group->q_offsets = caller_.offsets(sizes_.batch, sizes_.batch * sizes_.q_len);
    if (kind == 2) choose_ragged_keys(group);
    group->max_q_len = bytes_.rare() ? bytes_.hostile() : 0;
    group->max_kv_len = bytes_.rare() ? bytes_.hostile() : 0;
    problem_->ragged = group;
  }

  void choose_dense_keys() {
    const std::int64_t rows = bytes_.mostly(sizes_.batch) % 64;
    problem_->k =
        caller_.tensor(sizes_.dtype, {rows, sizes_.kv_len, sizes_.kv_heads, sizes_.head_dim});
    problem_->v =
        caller_.tensor(sizes_.dtype, {rows, sizes_.kv_len, sizes_.kv_heads, sizes_.value_dim});
  }

  void choose_ragged_keys(rapt_ragged* group) {
    const std::int64_t tokens = sizes_.batch * sizes_.kv_len;
    problem_->k = caller_.tensor(sizes_.dtype, {tokens, sizes_.kv_heads, sizes_.head_dim});
    problem_->v = caller_.tensor(sizes_.dtype, {tokens, sizes_.kv_heads, sizes_.value_dim});
    group->kv_offsets = caller_.offsets(sizes_.batch, tokens);
  }

  rapt_tensor page_tensor(const rapt_pages& group, std::int64_t pages, std::int64_t dim, bool key) {
    const std::int64_t page = group.page_size, heads = sizes_.kv_heads;
    const auto width = static_cast<std::int64_t>(rapt_dtype_bytes(sizes_.dtype));
    const std::int64_t x = width == 0 ? 1 : 16 / width;
    if (group.layout == RAPT_PAGE_HEAD_DIM) {
      return caller_.tensor(sizes_.dtype, {pages, page, heads, dim});
    }
    if (group.layout == RAPT_HEAD_PAGE_DIM) {
      return caller_.tensor(sizes_.dtype, {pages, heads, page, dim});
    }
    if (group.layout == RAPT_X_PACKED && key) {
      return caller_.tensor(sizes_.dtype, {pages, heads, dim / x, page, x});
    }
    return caller_.tensor(sizes_.dtype, {pages, heads, dim, page});
  }

  void choose_pages() {
    auto* group = caller_.make<rapt_pages>();
    const std::int64_t pages = bytes_.range(0, 5), columns = bytes_.range(0, 4);
    group->layout = static_cast<rapt_page_layout>(bytes_.range(0, 3));
    const std::int64_t page_size = std::int64_t{1} << bytes_.range(0, 4);
    group->page_size = page_size;
    problem_->k = page_tensor(*group, pages, sizes_.head_dim, true);
    problem_->v = page_tensor(*group, pages, sizes_.value_dim, false);
    if (bytes_.rare()) group->layout = static_cast<rapt_page_layout>(bytes_.hostile());
    group->page_size = bytes_.mostly(page_size);
    group->table = caller_.indices(RAPT_INT32, {sizes_.batch, columns}, 0, pages - 1);
    problem_->pages = group;
    choose_lengths(std::min<std::int64_t>(columns * page_size, 255));
  }

  void choose_lengths(std::int64_t most) {
    auto* group = caller_.make<rapt_lengths>();
    const auto high = most < 0 ? 0 : most;
    group->kv_len = caller_.indices(RAPT_INT32, {sizes_.batch}, 0, high);
    if (bytes_.flag()) {
      group->q_len = caller_.indices(RAPT_INT32, {sizes_.batch}, 0, sizes_.q_len);
    }
    if (bytes_.rare()) group->kv_len = {};
    if (bytes_.flag()) {
      group->cache_row = caller_.indices(RAPT_INT32, {sizes_.batch}, 0, sizes_.batch - 1);
    }
    if (bytes_.flag()) group->left_pad = caller_.indices(RAPT_INT32, {sizes_.batch}, 0, high / 2);
    problem_->lengths = group;
  }

  void choose_scores() {
    if (bytes_.flag()) {
      auto* mask = caller_.make<rapt_mask>();
      mask->left = bytes_.flag() ? RAPT_UNBOUNDED : bytes_.mostly(bytes_.range(0, 20));
      mask->right = bytes_.mostly(bytes_.range(0, 20));
      mask->sink_tokens = bytes_.mostly(bytes_.range(0, 5));
      problem_->mask = mask;
    }
    if (bytes_.flag()) {
      auto* softcap = caller_.make<rapt_softcap>();
      softcap->cap = number();
      problem_->softcap = softcap;
    }
    if (bytes_.flag()) {
      auto* scale = static_cast<float*>(caller_.allocate(sizeof(float)));
      *scale = number();
      problem_->scale = scale;
    }
    choose_added();
  }

  void choose_added() {
    if (bytes_.flag()) {
      auto* alibi = caller_.make<rapt_alibi>();
      alibi->slopes = bytes_.flag() ? caller_.tensor(RAPT_FP32, {sizes_.q_heads})
                                    : caller_.tensor(RAPT_FP32, {sizes_.batch, sizes_.q_heads});
      problem_->alibi = alibi;
    }
    if (bytes_.flag()) {
      auto* bias = caller_.make<rapt_bias>();
      const auto dtype = static_cast<rapt_dtype>(bytes_.range(1, 3));
      bias->bias = caller_.tensor(
          dtype, {bytes_.flag() ? sizes_.batch : 1, bytes_.flag() ? sizes_.q_heads : 1,
                  bytes_.flag() ? sizes_.q_len : 1, sizes_.kv_len});
      problem_->bias = bias;
    }
  }

  void choose_softmax() {
    if (bytes_.flag()) {
      auto* sinks = caller_.make<rapt_sinks>();
      sinks->sinks = caller_.tensor(RAPT_FP32, {sizes_.q_heads});
      problem_->sinks = sinks;
    }
    if (bytes_.flag()) {
      auto* dropout = caller_.make<rapt_dropout>();
      dropout->probability = bytes_.rare() ? number() : 0.25f;
      dropout->seed = static_cast<std::uint64_t>(bytes_.word());
      dropout->offset = static_cast<std::uint64_t>(bytes_.word());
      problem_->dropout = dropout;
    }
    if (bytes_.rare()) {
      auto* descale = caller_.make<rapt_descale>();
      descale->q = caller_.maybe(RAPT_FP32, {sizes_.batch, sizes_.kv_heads});
      descale->k = caller_.maybe(RAPT_FP32, {sizes_.batch, sizes_.kv_heads});
      descale->v = caller_.maybe(RAPT_FP32, {sizes_.batch, sizes_.kv_heads});
      problem_->descale = descale;
    }
  }

  void choose_places() {
    if (problem_->lengths == nullptr && bytes_.flag()) choose_lengths(sizes_.kv_len);
    if (!bytes_.flag()) return;
    auto* positions = caller_.make<rapt_positions>();
    const rapt_dtype dtype = bytes_.flag() ? RAPT_INT32 : RAPT_INT64;
    if (bytes_.flag()) positions->q_start = caller_.indices(dtype, {sizes_.batch}, 0, 99);
    if (bytes_.flag()) positions->kv_start = caller_.indices(dtype, {sizes_.batch}, 0, 99);
    problem_->positions = positions;
  }

  // A float as a caller may give it: any bits, or something near 1.
  float number() {
    if (!bytes_.rare()) return static_cast<float>(bytes_.byte()) / 16;
    const auto bits = static_cast<std::uint32_t>(bytes_.word());
    float value = 0;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }

  // Memory of its own for a view of the same shape.
  rapt_tensor like(const rapt_tensor& view) {
    const std::int64_t* s = view.shape;
    switch (view.rank) {
      case 1:
        return caller_.tensor(view.dtype, {s[0]});
      case 2:
        return caller_.tensor(view.dtype, {s[0], s[1]});
      case 3:
        return caller_.tensor(view.dtype, {s[0], s[1], s[2]});
      case 4:
        return caller_.tensor(view.dtype, {s[0], s[1], s[2], s[3]});
      case 5:
        return caller_.tensor(view.dtype, {s[0], s[1], s[2], s[3], s[4]});
      default:
        return {};
    }
  }

  // The gradient of what a feature adds is FP32 and may be left out.
  rapt_tensor sums_like(const rapt_tensor& view) {
    if (bytes_.flag()) return {};
    rapt_tensor floats = view;
    if (!bytes_.rare()) floats.dtype = RAPT_FP32;
    return like(floats);
  }

  Bytes& bytes_;
  Caller& caller_;
  Sizes sizes_ = {};
  rapt_attention* problem_ = nullptr;
  bool ragged_ = false;
};

void explain(const rapt_attention* problem, const rapt_options* how) {
  char text[64];
  std::size_t needed = 0;
  rapt_explain(problem, how, text, sizeof text, &needed);
  rapt_explain(problem, how, nullptr, 0, &needed);
  rapt_prepare(problem, how);
}

void differentiate(const rapt_gradient* gradient, const rapt_options* how, bool lent) {
  char text[64];
  std::size_t needed = 0;
  rapt_explain_backward(gradient, how, text, sizeof text, &needed);
  if (lent) rapt_attend_backward(gradient, how);
}

// plan, upload, run with bounds and lengths of any kind.
void plan(Bytes& bytes, Caller& caller, Attention& attention, const rapt_options* how) {
  const rapt_attention* problem = attention.build();
  auto* bounds = caller.make<rapt_bounds>();
  bounds->batch = bytes.mostly(0);
  bounds->q_tokens = bytes.mostly(0);
  bounds->q_len = bytes.mostly(0);
  bounds->kv_len = bytes.mostly(0);
  rapt_plan* made = nullptr;
  if (rapt_plan_create(problem, bytes.flag() ? bounds : nullptr, how, &made) != RAPT_OK) return;
  const std::size_t size = rapt_plan_workspace_bytes(made);
  if (size < (1u << 26) && caller.lends_everything()) {
    auto* raw = static_cast<std::byte*>(caller.allocate(size + 64));
    std::byte* workspace = raw + (64 - reinterpret_cast<std::uintptr_t>(raw) % 64) % 64;
    auto* step = caller.make<rapt_step>();
    step->batch = attention.sizes().batch;
    const auto batch = static_cast<std::size_t>(attention.sizes().batch);
    auto* lengths = static_cast<std::int64_t*>(caller.allocate((2 * batch + 1) * 8));
    for (std::size_t b = 0; b < batch; ++b) {
      lengths[b] = bytes.mostly(attention.sizes().q_len);
      lengths[batch + b] = bytes.mostly(attention.sizes().kv_len);
    }
    if (bytes.flag()) step->q_len = lengths;
    if (bytes.flag()) step->kv_len = lengths + batch;
    const std::size_t lent = bytes.rare() ? size / 2 : size;
    if (!bytes.rare()) rapt_upload(made, bytes.flag() ? step : nullptr, workspace, lent, how);
    rapt_run(made, problem, workspace, lent, how);
  }
  rapt_plan_free(made);
}

}  // namespace
}  // namespace rapt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rapt::fuzz;
  Bytes bytes(data, size);
  Caller caller(bytes);
  Attention attention(bytes, caller);
  const std::int64_t verb = bytes.range(0, 7);
  const rapt_options* how = options(bytes, caller);
  if (verb == 0) {
    plan(bytes, caller, attention, how);
  } else if (verb == 1 || verb == 3) {
    const rapt_gradient* gradient = attention.build_gradient();
    differentiate(gradient, how, caller.lends_everything());
  } else {
    const rapt_attention* problem = attention.build();
    if (verb == 2 || !caller.lends_everything()) {
      explain(problem, how);
    } else {
      rapt_attend(problem, how);
    }
  }
  return 0;
}
