// SPDX-License-Identifier: Apache-2.0 OR MIT
// The verbs of the paged cache, and merge, from any bytes: whatever a caller says, they answer and
// touch nothing that was not lent.
#include <cstddef>
#include <cstdint>

#include "bytes.h"
#include "caller.h"
#include "rapt/rapt.h"

namespace rapt::fuzz {
namespace {

class Cache {
 public:
  Cache(Bytes& bytes, Caller& caller) : bytes_(bytes), caller_(caller) {
    dtype_ = static_cast<rapt_dtype>(bytes.rare() ? bytes.range(0, 12) : bytes.range(1, 3));
    layout_ = static_cast<rapt_page_layout>(bytes.range(0, 3));
    pages_ = bytes.range(0, 5);
    page_size_ = std::int64_t{1} << bytes.range(0, 3);
    heads_ = bytes.range(1, 3);
  }

  rapt_tensor pages(std::int64_t dim, bool key) {
    const auto width = static_cast<std::int64_t>(rapt_dtype_bytes(dtype_));
    const std::int64_t x = width == 0 ? 1 : 16 / width;
    switch (layout_) {
      case RAPT_PAGE_HEAD_DIM:
        return caller_.tensor(dtype_, {pages_, page_size_, heads_, dim});
      case RAPT_HEAD_PAGE_DIM:
        return caller_.tensor(dtype_, {pages_, heads_, page_size_, dim});
      case RAPT_HEAD_DIM_PAGE:
        break;
      default:
        if (key) return caller_.tensor(dtype_, {pages_, heads_, dim / x, page_size_, x});
    }
    return caller_.tensor(dtype_, {pages_, heads_, dim, page_size_});
  }

  rapt_append_args* append() {
    auto* args = caller_.make<rapt_append_args>();
    const std::int64_t tokens = bytes_.range(0, 7), head_dim = 8 * bytes_.range(1, 3);
    const std::int64_t value_dim = bytes_.flag() ? head_dim : 8 * bytes_.range(1, 3);
    args->k = caller_.tensor(dtype_, {tokens, heads_, head_dim});
    args->v = caller_.tensor(dtype_, {tokens, heads_, value_dim});
    args->k_cache = pages(head_dim, true);
    args->v_cache = pages(value_dim, false);
    args->slots = caller_.indices(RAPT_INT64, {tokens}, -1, pages_ * page_size_ - 1);
    args->layout = static_cast<rapt_page_layout>(bytes_.mostly(layout_));
    args->page_size = bytes_.mostly(page_size_);
    if (bytes_.flag()) add_rope(args, tokens, head_dim);
    return args;
  }

  rapt_tensor pairs() {
    return caller_.indices(RAPT_INT64, {bytes_.range(0, 4), 2}, 0, pages_ - 1);
  }
  rapt_tensor list() { return caller_.indices(RAPT_INT64, {bytes_.range(0, 4)}, 0, pages_ - 1); }
  rapt_tensor any() { return pages(8 * bytes_.range(1, 2), bytes_.flag()); }

 private:
  void add_rope(rapt_append_args* args, std::int64_t tokens, std::int64_t head_dim) {
    auto* rope = caller_.make<rapt_rope>();
    const std::int64_t positions = bytes_.range(0, 9), half = bytes_.range(1, head_dim / 2);
    rope->cos = caller_.tensor(RAPT_FP32, {positions, half});
    rope->sin = caller_.tensor(RAPT_FP32, {positions, half});
    rope->positions =
        caller_.indices(bytes_.flag() ? RAPT_INT32 : RAPT_INT64, {tokens}, 0, positions - 1);
    rope->rotary_dim = bytes_.mostly(2 * half);
    rope->interleaved = static_cast<std::int32_t>(bytes_.mostly(bytes_.range(0, 1)));
    args->rope = rope;
    if (bytes_.flag()) {
      const std::int64_t q_heads = heads_ * bytes_.range(1, 2);
      args->q = caller_.tensor(dtype_, {tokens, q_heads, head_dim});
      args->q_out = bytes_.flag() ? args->q : caller_.tensor(dtype_, {tokens, q_heads, head_dim});
    }
  }

  Bytes& bytes_;
  Caller& caller_;
  rapt_dtype dtype_;
  rapt_page_layout layout_;
  std::int64_t pages_, page_size_, heads_;
};

rapt_merge_args* merge(Bytes& bytes, Caller& caller) {
  const auto dtype = static_cast<rapt_dtype>(bytes.range(1, 3));
  const std::int64_t count = bytes.range(0, 3), batch = bytes.range(0, 3);
  const std::int64_t len = bytes.range(0, 5), heads = bytes.range(1, 3),
                     dim = 8 * bytes.range(1, 2);
  auto* outs = static_cast<rapt_tensor*>(caller.allocate(4 * sizeof(rapt_tensor)));
  auto* lses = static_cast<rapt_tensor*>(caller.allocate(4 * sizeof(rapt_tensor)));
  const bool ragged = bytes.flag();
  for (std::int64_t part = 0; part <= count; ++part) {  // the last is for the result
    outs[part] = ragged ? caller.tensor(dtype, {len, heads, dim})
                        : caller.tensor(dtype, {batch, len, heads, dim});
    lses[part] = ragged ? caller.tensor(RAPT_FP32, {heads, len})
                        : caller.tensor(RAPT_FP32, {batch, heads, len});
  }
  auto* args = caller.make<rapt_merge_args>();
  args->count = bytes.rare() ? -count : count;
  args->out = bytes.rare() ? nullptr : outs;
  args->lse = bytes.rare() ? nullptr : lses;
  args->merged_out = outs[bytes.flag() ? count : 0];
  if (bytes.flag()) args->merged_lse = lses[bytes.flag() ? count : 0];
  return args;
}

void run_verb(Bytes& bytes, Caller& caller) {
  const rapt_options* how = options(bytes, caller);
  const std::int64_t verb = bytes.range(0, 4);
  Cache cache(bytes, caller);
  if (verb == 0) {
    const rapt_append_args* args = cache.append();
    if (caller.lends_everything()) rapt_append(args, how);
  } else if (verb == 1) {
    const rapt_tensor from = cache.any(), to = bytes.flag() ? from : cache.any();
    const rapt_tensor pairs = cache.pairs();
    if (caller.lends_everything()) rapt_swap_pages(&from, &to, &pairs, how);
  } else if (verb == 2) {
    const rapt_tensor pages = cache.any(), pairs = cache.pairs();
    if (caller.lends_everything()) rapt_copy_pages(&pages, &pairs, how);
  } else if (verb == 3) {
    const rapt_tensor pages = cache.any(), list = cache.list();
    if (caller.lends_everything()) rapt_clear_pages(&pages, &list, how);
  } else {
    const rapt_merge_args* args = merge(bytes, caller);
    if (caller.lends_everything()) rapt_merge(args, how);
  }
}

}  // namespace
}  // namespace rapt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  rapt::fuzz::Bytes bytes(data, size);
  rapt::fuzz::Caller caller(bytes);
  rapt::fuzz::run_verb(bytes, caller);
  return 0;
}
