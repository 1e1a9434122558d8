// SPDX-License-Identifier: Apache-2.0 OR MIT
// What is refused of the smaller verbs: append, moving pages, merge.
#include <gtest/gtest.h>

#include "rapt/rapt.h"
#include "valid_problem.h"

namespace rapt {
namespace {

// Three tokens into a cache of 4 pages of 2, with rotated keys and queries.
struct ValidAppend {
  Arena arena;
  rapt_append_args args = {};
  rapt_rope rope = {};

  ValidAppend() {
    args.struct_size = sizeof args;
    args.k = arena.tensor(RAPT_FP32, {3, 2, 16});
    args.v = arena.tensor(RAPT_FP32, {3, 2, 8});
    args.k_cache = arena.tensor(RAPT_FP32, {4, 2, 2, 16});
    args.v_cache = arena.tensor(RAPT_FP32, {4, 2, 2, 8});
    args.slots = arena.int64s({7, -1, 0});
    args.page_size = 2;
    args.q = arena.tensor(RAPT_FP32, {3, 4, 16});
    args.q_out = arena.tensor(RAPT_FP32, {3, 4, 16});
    rope.struct_size = sizeof rope;
    rope.cos = arena.tensor(RAPT_FP32, {5, 4});
    rope.sin = arena.tensor(RAPT_FP32, {5, 4});
    rope.positions = arena.int32s({4, 0, 1});
    rope.rotary_dim = 8;
    args.rope = &rope;
  }

  void drop_query() { args.q = args.q_out = {}; }
};

struct AppendRefusal {
  const char* sentence;
  void (*spoil)(ValidAppend&);
  rapt_status code = RAPT_INVALID_ARGUMENT;
};

void expect_all_refused(std::initializer_list<AppendRefusal> refusals) {
  for (const AppendRefusal& refusal : refusals) {
    ValidAppend valid;
    refusal.spoil(valid);
    expect_refusal(valid.arena, refusal.sentence, refusal.code,
                   [&] { return rapt_append(&valid.args, nullptr); });
  }
}

TEST(ValidateAppend, AcceptsWithAndWithoutRopeAndQuery) {
  ValidAppend valid;
  EXPECT_EQ(rapt_append(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
  valid.args.q_out = valid.args.q;  // rotated in place
  EXPECT_EQ(rapt_append(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
  valid.drop_query();
  EXPECT_EQ(rapt_append(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
  valid.args.rope = nullptr;
  EXPECT_EQ(rapt_append(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateAppend, AcceptsKeysAndValuesInterleavedInOneCache) {
  ValidAppend valid;
  rapt_tensor both = valid.arena.tensor(RAPT_FP32, {4, 2, 2, 2, 16});  // [pages, k or v, ...]
  for (rapt_tensor* cache : {&valid.args.k_cache, &valid.args.v_cache}) {
    cache->data = both.data;
    cache->strides[0] = both.strides[0];
  }
  valid.args.v_cache.data = static_cast<float*>(both.data) + both.strides[1];
  EXPECT_EQ(rapt_append(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateAppend, RefusesMissingTensors) {
  EXPECT_EQ(rapt_append(nullptr, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "args: is null");
  expect_all_refused({
      {"args: struct_size is 1; must be the struct's size, 816",
       [](ValidAppend& v) { v.args.struct_size = 1; }},
      {"rope: struct_size is 0; must be the struct's size, 360",
       [](ValidAppend& v) { v.rope.struct_size = 0; }},
      {"k: is not given", [](ValidAppend& v) { v.args.k = {}; }},
      {"v: is not given", [](ValidAppend& v) { v.args.v = {}; }},
      {"k_cache: is not given", [](ValidAppend& v) { v.args.k_cache = {}; }},
      {"v_cache: is not given", [](ValidAppend& v) { v.args.v_cache = {}; }},
      {"slots: is not given", [](ValidAppend& v) { v.args.slots = {}; }},
      {"rope.cos: is not given", [](ValidAppend& v) { v.rope.cos = {}; }},
      {"rope.sin: is not given", [](ValidAppend& v) { v.rope.sin = {}; }},
      {"rope.positions: is not given", [](ValidAppend& v) { v.rope.positions = {}; }},
      {"q_out: is not given", [](ValidAppend& v) { v.args.q_out = {}; }},
      {"q_out: is given without q", [](ValidAppend& v) { v.args.q = {}; }},
      {"q: is given without rope", [](ValidAppend& v) { v.args.rope = nullptr; }},
      {"k: data is null, and the view has elements",
       [](ValidAppend& v) { v.args.k.data = nullptr; }},
      {"v: is on device 1:0, k on 0:0", [](ValidAppend& v) { v.args.v.device_kind = RAPT_CUDA; }},
  });
}

TEST(ValidateAppend, RefusesCaches) {
  expect_all_refused({
      {"layout: is -1; must be one of rapt_page_layout",
       [](ValidAppend& v) { v.args.layout = -1; }},
      {"page_size: is 6; must be a power of two, 1 to 256",
       [](ValidAppend& v) { v.args.page_size = 6; }},
      {"k_cache: dtype is int8; must be fp32, fp16, bf16, fp8_e4m3 or fp8_e5m2",
       [](ValidAppend& v) { v.args.k_cache.dtype = RAPT_INT8; }},
      {"v_cache: dtype is fp16; must be fp32",
       [](ValidAppend& v) { v.args.v_cache.dtype = RAPT_FP16; }},
      {"k_cache: page_size is 2, the call has 4", [](ValidAppend& v) { v.args.page_size = 4; }},
      {"v_cache: pages is 3, k_cache has 4", [](ValidAppend& v) { v.args.v_cache.shape[0] = 3; }},
      {"v_cache: kv_heads is 1, k_cache has 2",
       [](ValidAppend& v) { v.args.v_cache.shape[2] = 1; }},
      {"k_cache: kv_heads is 0; must be 1 or more",
       [](ValidAppend& v) { v.args.k_cache.shape[2] = v.args.v_cache.shape[2] = 0; }},
      {"k_cache: head_dim is 12; must be a multiple of 8, 8 to 512",
       [](ValidAppend& v) { v.args.k_cache.shape[3] = 12; }},
      {"v_cache: value_dim is 4; must be a multiple of 8, 8 to 512",
       [](ValidAppend& v) { v.args.v_cache.shape[3] = 4; }},
      {"k_cache: strides[0] is 0, so its elements overlap; an output must have each once",
       [](ValidAppend& v) { v.args.k_cache.strides[0] = 0; }},
      {"k_cache: overlaps v_cache in memory",
       [](ValidAppend& v) { v.args.v_cache.data = v.args.k_cache.data; }},
      {"k_cache: overlaps k in memory",
       [](ValidAppend& v) { v.args.k.data = v.args.k_cache.data; }},
      {"q_out: overlaps q in memory",  // shifted by a head, not q itself
       [](ValidAppend& v) { v.args.q_out.data = static_cast<float*>(v.args.q.data) + 16; }},
  });
}

TEST(ValidateAppend, RefusesTokens) {
  expect_all_refused({
      {"k: dtype is bf16; must be fp32", [](ValidAppend& v) { v.args.k.dtype = RAPT_BF16; }},
      {"v: dtype is bf16; must be fp32", [](ValidAppend& v) { v.args.v.dtype = RAPT_BF16; }},
      {"k: kv_heads is 1, k_cache has 2", [](ValidAppend& v) { v.args.k.shape[1] = 1; }},
      {"k: head_dim is 8, k_cache has 16", [](ValidAppend& v) { v.args.k.shape[2] = 8; }},
      {"v: tokens is 2, k has 3", [](ValidAppend& v) { v.args.v.shape[0] = 2; }},
      {"v: value_dim is 7, v_cache has 8", [](ValidAppend& v) { v.args.v.shape[2] = 7; }},
      {"slots: dtype is int32; must be int64",
       [](ValidAppend& v) { v.args.slots = v.arena.int32s({1, 2, 3}); }},
      {"slots: tokens is 2, k has 3", [](ValidAppend& v) { v.args.slots.shape[0] = 2; }},
      {"slots: token 1 is 8; must be -1, or below 8",
       [](ValidAppend& v) { int64_at(v.args.slots, 1) = 8; }},
      {"slots: token 0 is -2; must be -1, or below 8",
       [](ValidAppend& v) { int64_at(v.args.slots, 0) = -2; }},
      {"slots: 7 is named twice", [](ValidAppend& v) { int64_at(v.args.slots, 2) = 7; }},
      {"q: dtype is fp16; must be fp32", [](ValidAppend& v) { v.args.q.dtype = RAPT_FP16; }},
      {"q: tokens is 2, k has 3", [](ValidAppend& v) { v.args.q.shape[0] = 2; }},
      {"q_out: shape[1] is 3, q has 4", [](ValidAppend& v) { v.args.q_out.shape[1] = 3; }},
  });
}

TEST(ValidateAppend, RefusesRope) {
  expect_all_refused({
      {"rope.rotary_dim: is 18; must be even, 2 to 16",
       [](ValidAppend& v) { v.rope.rotary_dim = 18; }},
      {"rope.rotary_dim: is 7; must be even, 2 to 16",
       [](ValidAppend& v) { v.rope.rotary_dim = 7; }},
      {"rope.rotary_dim: is 0; must be even, 2 to 16",
       [](ValidAppend& v) { v.rope.rotary_dim = 0; }},
      {"rope.interleaved: is 2; must be 0 or 1", [](ValidAppend& v) { v.rope.interleaved = 2; }},
      {"rope.cos: dtype is fp16; must be fp32",
       [](ValidAppend& v) { v.rope.cos.dtype = RAPT_FP16; }},
      {"rope.cos: rotary_dim / 2 is 4, rope.rotary_dim has 2",
       [](ValidAppend& v) { v.rope.rotary_dim = 4; }},
      {"rope.sin: shape[0] is 4, rope.cos has 5", [](ValidAppend& v) { v.rope.sin.shape[0] = 4; }},
      {"rope.positions: dtype is uint32; must be int32 or int64",
       [](ValidAppend& v) { v.rope.positions.dtype = RAPT_UINT32; }},
      {"rope.positions: tokens is 2, k has 3",
       [](ValidAppend& v) { v.rope.positions.shape[0] = 2; }},
      {"rope.cos: positions is 0; must be 1 or more",
       [](ValidAppend& v) { v.rope.cos.shape[0] = v.rope.sin.shape[0] = 0; }},
      {"rope.positions: token 1 is 5, rope.cos has 5",
       [](ValidAppend& v) { int32_at(v.rope.positions, 1) = 5; }},
      {"rope.positions: token 2 is -1, rope.cos has 5",
       [](ValidAppend& v) { int32_at(v.rope.positions, 2) = -1; }},
  });
}

TEST(ValidateAppend, IndicesOnAnotherDeviceAreNotRead) {
  ValidAppend valid;
  rapt_append_args& a = valid.args;
  for (rapt_tensor* t : {&a.k, &a.v, &a.k_cache, &a.v_cache, &a.slots, &a.q, &a.q_out,
                         &valid.rope.cos, &valid.rope.sin, &valid.rope.positions}) {
    t->device_kind = RAPT_VULKAN;
  }
  int64_at(a.slots, 0) = 99;
  expect_refusal(valid.arena, "k_cache: is on vulkan, which this build does not run on",
                 RAPT_UNSUPPORTED, [&] { return rapt_append(&a, nullptr); });
}

// Two caches of 4 pages of [2, 8], and moves between them.
struct ValidPages {
  Arena arena;
  rapt_tensor cache = arena.tensor(RAPT_FP16, {4, 2, 8});
  rapt_tensor other = arena.tensor(RAPT_FP16, {3, 2, 8});
  rapt_tensor pairs = arena.tensor(RAPT_INT64, {2, 2});
  rapt_tensor pages = arena.int64s({2, 0});

  ValidPages() {
    set_pair(0, 0, 2);
    set_pair(1, 3, 1);
  }
  void set_pair(std::int64_t i, std::int64_t from, std::int64_t to) {
    int64_at(pairs, 2 * i) = from;
    int64_at(pairs, 2 * i + 1) = to;
  }
  rapt_status copy() { return rapt_copy_pages(&cache, &pairs, nullptr); }
  rapt_status swap() { return rapt_swap_pages(&cache, &other, &pairs, nullptr); }
  rapt_status clear() { return rapt_clear_pages(&cache, &pages, nullptr); }
};

struct PagesRefusal {
  const char* sentence;
  void (*spoil)(ValidPages&);
  rapt_status (ValidPages::*verb)();
  rapt_status code = RAPT_INVALID_ARGUMENT;
};

void expect_all_refused(std::initializer_list<PagesRefusal> refusals) {
  for (const PagesRefusal& refusal : refusals) {
    ValidPages valid;
    refusal.spoil(valid);
    expect_refusal(valid.arena, refusal.sentence, refusal.code,
                   [&] { return (valid.*refusal.verb)(); });
  }
}

TEST(ValidatePages, AcceptsMovesAndNoMoves) {
  ValidPages valid;
  EXPECT_EQ(valid.copy(), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(valid.swap(), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(valid.clear(), RAPT_OK) << rapt_error_message();
  valid.pairs.shape[0] = valid.pages.shape[0] = 0;
  EXPECT_EQ(valid.copy(), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(valid.swap(), RAPT_OK) << rapt_error_message();
  EXPECT_EQ(valid.clear(), RAPT_OK) << rapt_error_message();
}

TEST(ValidatePages, SwapMayReadOnePageTwice) {
  ValidPages valid;
  valid.set_pair(1, 0, 1);
  EXPECT_EQ(valid.swap(), RAPT_OK) << rapt_error_message();
}

TEST(ValidatePages, RefusesNulls) {
  ValidPages v;
  EXPECT_EQ(rapt_copy_pages(nullptr, &v.pairs, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "cache: is null");
  EXPECT_EQ(rapt_swap_pages(&v.cache, nullptr, &v.pairs, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "to: is null");
  EXPECT_EQ(rapt_clear_pages(&v.cache, nullptr, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "pages: is null");
}

TEST(ValidatePages, RefusesCopies) {
  expect_all_refused({
      {"cache: is not given", [](ValidPages& v) { v.cache = {}; }, &ValidPages::copy},
      {"cache: rank is 1; must be 2 or more, pages first",
       [](ValidPages& v) { v.cache = v.arena.tensor(RAPT_FP16, {8}); }, &ValidPages::copy},
      {"cache: strides[0] is 15, so its elements overlap; an output must have each once",
       [](ValidPages& v) { v.cache.strides[0] = 15; }, &ValidPages::copy},
      {"cache: overlaps pairs in memory", [](ValidPages& v) { v.pairs.data = v.cache.data; },
       &ValidPages::copy},
      {"pairs: is on device 1:0, cache on 0:0",
       [](ValidPages& v) { v.pairs.device_kind = RAPT_CUDA; }, &ValidPages::copy},
      {"pairs: dtype is int32; must be int64",
       [](ValidPages& v) { v.pairs = v.arena.tensor(RAPT_INT32, {2, 2}); }, &ValidPages::copy},
      {"pairs: 2 is 3, a pair has 2",
       [](ValidPages& v) { v.pairs = v.arena.tensor(RAPT_INT64, {2, 3}); }, &ValidPages::copy},
      {"pairs: entry 1[0] is 4, there are 4 pages", [](ValidPages& v) { v.set_pair(1, 4, 1); },
       &ValidPages::copy},
      {"pairs: entry 0[1] is -1, there are 4 pages", [](ValidPages& v) { v.set_pair(0, 0, -1); },
       &ValidPages::copy},
      {"pairs: page 2 is written twice", [](ValidPages& v) { v.set_pair(1, 3, 2); },
       &ValidPages::copy},
      {"pairs: page 2 is both read and written", [](ValidPages& v) { v.set_pair(1, 2, 1); },
       &ValidPages::copy},
      {"cache: is on vulkan, which this build does not run on",
       [](ValidPages& v) { v.cache.device_kind = v.pairs.device_kind = RAPT_VULKAN; },
       &ValidPages::copy, RAPT_UNSUPPORTED},
  });
}

TEST(ValidatePages, RefusesSwaps) {
  expect_all_refused({
      {"from: is not given", [](ValidPages& v) { v.cache = {}; }, &ValidPages::swap},
      {"to: dtype is bf16; must be fp16", [](ValidPages& v) { v.other.dtype = RAPT_BF16; },
       &ValidPages::swap},
      {"to: shape[1] is 1, from has 2", [](ValidPages& v) { v.other.shape[1] = 1; },
       &ValidPages::swap},
      {"to: strides[0] is 0, so its elements overlap; an output must have each once",
       [](ValidPages& v) { v.other.strides[0] = 0; }, &ValidPages::swap},
      {"to: overlaps from in memory", [](ValidPages& v) { v.other.data = v.cache.data; },
       &ValidPages::swap},
      {"pairs: entry 0[1] is 3, there are 3 pages", [](ValidPages& v) { v.set_pair(0, 0, 3); },
       &ValidPages::swap},
      {"pairs: page 2 is written twice", [](ValidPages& v) { v.set_pair(1, 3, 2); },
       &ValidPages::swap},
      {"pairs: is on device 1:0, from on 0:0",
       [](ValidPages& v) { v.pairs.device_kind = RAPT_CUDA; }, &ValidPages::swap},
      {"pairs: entry 0[1] is 3, there are 3 pages",  // pairs in host memory are read
       [](ValidPages& v) {
         v.cache.device_kind = RAPT_VULKAN;
         v.set_pair(0, 0, 3);
       },
       &ValidPages::swap},
      {"pairs: is on device 1:0, from on 2:0",
       [](ValidPages& v) {
         v.cache.device_kind = RAPT_VULKAN;
         v.pairs.device_kind = RAPT_CUDA;
       },
       &ValidPages::swap},
      {"to: is on device 2:1, from on 2:0",
       [](ValidPages& v) {
         v.cache.device_kind = v.other.device_kind = RAPT_VULKAN;
         v.other.device_index = 1;
       },
       &ValidPages::swap},
      {"to: is on vulkan, which this build does not run on",  // pairs there are not read
       [](ValidPages& v) {
         v.other.device_kind = v.pairs.device_kind = RAPT_VULKAN;
         v.set_pair(0, 0, 3);
       },
       &ValidPages::swap, RAPT_UNSUPPORTED},
      {"to: is on vulkan, which this build does not run on",  // swapped out of a GPU
       [](ValidPages& v) { v.cache.device_kind = RAPT_VULKAN; }, &ValidPages::swap,
       RAPT_UNSUPPORTED},
      {"to: is on vulkan, which this build does not run on",  // swapped into one
       [](ValidPages& v) { v.other.device_kind = RAPT_VULKAN; }, &ValidPages::swap,
       RAPT_UNSUPPORTED},
  });
}

TEST(ValidatePages, RefusesClears) {
  expect_all_refused({
      {"pages: dtype is int32; must be int64",
       [](ValidPages& v) { v.pages = v.arena.int32s({2, 0}); }, &ValidPages::clear},
      {"pages: rank is 2; must be 1, [n]", [](ValidPages& v) { v.pages = v.pairs; },
       &ValidPages::clear},
      {"pages: entry 1 is 4, there are 4 pages", [](ValidPages& v) { int64_at(v.pages, 1) = 4; },
       &ValidPages::clear},
      {"pages: page 2 is written twice", [](ValidPages& v) { int64_at(v.pages, 1) = 2; },
       &ValidPages::clear},
      {"cache: is on metal, which this build does not run on",
       [](ValidPages& v) { v.cache.device_kind = v.pages.device_kind = RAPT_METAL; },
       &ValidPages::clear, RAPT_UNSUPPORTED},
  });
}

// Three parts of [2, 4, 4, 8].
struct ValidMerge {
  Arena arena;
  rapt_tensor out[3], lse[3];
  rapt_merge_args args = {};

  ValidMerge() {
    for (rapt_tensor& t : out) t = arena.tensor(RAPT_FP32, {2, 4, 4, 8});
    for (rapt_tensor& t : lse) t = arena.tensor(RAPT_FP32, {2, 4, 4});
    args.struct_size = sizeof args;
    args.count = 3;
    args.out = out;
    args.lse = lse;
    args.merged_out = arena.tensor(RAPT_FP32, {2, 4, 4, 8});
    args.merged_lse = arena.tensor(RAPT_FP32, {2, 4, 4});
  }
};

struct MergeRefusal {
  const char* sentence;
  void (*spoil)(ValidMerge&);
};

TEST(ValidateMerge, AcceptsAndMergesInPlace) {
  ValidMerge valid;
  EXPECT_EQ(rapt_merge(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
  valid.args.merged_out = valid.out[1];
  valid.args.merged_lse = valid.lse[1];
  EXPECT_EQ(rapt_merge(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
  valid.args.merged_lse = {};
  EXPECT_EQ(rapt_merge(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateMerge, AcceptsRaggedParts) {
  ValidMerge valid;
  for (rapt_tensor& t : valid.out) t = valid.arena.tensor(RAPT_FP32, {7, 4, 8});
  for (rapt_tensor& t : valid.lse) t = valid.arena.tensor(RAPT_FP32, {4, 7});
  valid.args.merged_out = valid.arena.tensor(RAPT_FP32, {7, 4, 8});
  valid.args.merged_lse = valid.arena.tensor(RAPT_FP32, {4, 7});
  EXPECT_EQ(rapt_merge(&valid.args, nullptr), RAPT_OK) << rapt_error_message();
  valid.lse[0] = valid.arena.tensor(RAPT_FP32, {7, 4});
  EXPECT_EQ(rapt_merge(&valid.args, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "lse[0]: q_heads is 7, out[0] has 4");
}

TEST(ValidateMerge, Refuses) {
  const MergeRefusal refusals[] = {
      {"args: struct_size is 0; must be the struct's size, 256",
       [](ValidMerge& v) { v.args.struct_size = 0; }},
      {"count: is 0; must be 1 or more", [](ValidMerge& v) { v.args.count = 0; }},
      {"out: is null", [](ValidMerge& v) { v.args.out = nullptr; }},
      {"lse: is null", [](ValidMerge& v) { v.args.lse = nullptr; }},
      {"out[1]: is not given", [](ValidMerge& v) { v.out[1] = {}; }},
      {"lse[2]: strides[0] is -1; must be 0 or more",
       [](ValidMerge& v) { v.lse[2].strides[0] = -1; }},
      {"merged_out: is not given", [](ValidMerge& v) { v.args.merged_out = {}; }},
      {"merged_out: rank is 0; must be 1 to 5", [](ValidMerge& v) { v.args.merged_out.rank = 0; }},
      {"merged_lse: rank is 0; must be 1 to 5", [](ValidMerge& v) { v.args.merged_lse.rank = 0; }},
      {"out[2]: is on device 1:0, out[0] on 0:0",
       [](ValidMerge& v) { v.out[2].device_kind = RAPT_CUDA; }},
      {"out[0]: dtype is fp8_e4m3; must be fp32, fp16 or bf16",
       [](ValidMerge& v) { v.out[0].dtype = RAPT_FP8_E4M3; }},
      {"lse[0]: dtype is fp16; must be fp32", [](ValidMerge& v) { v.lse[0].dtype = RAPT_FP16; }},
      {"out[0]: rank is 2; must be 4, [batch, q_len, q_heads, value_dim]",
       [](ValidMerge& v) { v.out[0] = v.arena.tensor(RAPT_FP32, {4, 8}); }},
      {"out[0]: value_dim is 4; must be a multiple of 8, 8 to 512",
       [](ValidMerge& v) { v.out[0].shape[3] = 4; }},
      {"lse[0]: batch is 1, out[0] has 2", [](ValidMerge& v) { v.lse[0].shape[0] = 1; }},
      {"out[1]: shape[1] is 3, out[0] has 4", [](ValidMerge& v) { v.out[1].shape[1] = 3; }},
      {"lse[1]: shape[2] is 3, lse[0] has 4", [](ValidMerge& v) { v.lse[1].shape[2] = 3; }},
      {"merged_out: dtype is bf16; must be fp32",
       [](ValidMerge& v) { v.args.merged_out.dtype = RAPT_BF16; }},
      {"merged_lse: shape[0] is 1, lse[0] has 2",
       [](ValidMerge& v) { v.args.merged_lse.shape[0] = 1; }},
      {"merged_out: strides[0] is 0, so its elements overlap; an output must have each once",
       [](ValidMerge& v) { v.args.merged_out.strides[0] = 0; }},
      {"merged_out: overlaps lse[1] in memory",
       [](ValidMerge& v) { v.args.merged_out.data = v.lse[1].data; }},
      {"merged_out: overlaps out[1] in memory",
       [](ValidMerge& v) { v.args.merged_out.data = static_cast<float*>(v.out[1].data) + 8; }},
      {"merged_lse: overlaps lse[0] in memory",
       [](ValidMerge& v) { v.args.merged_lse.data = static_cast<float*>(v.lse[0].data) + 1; }},
      {"merged_lse: overlaps merged_out in memory",
       [](ValidMerge& v) { v.args.merged_lse.data = v.args.merged_out.data; }},
  };
  for (const MergeRefusal& refusal : refusals) {
    ValidMerge valid;
    refusal.spoil(valid);
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT,
                   [&] { return rapt_merge(&valid.args, nullptr); });
  }
}

}  // namespace
}  // namespace rapt
