// SPDX-License-Identifier: Apache-2.0 OR MIT
// What is refused of a problem's structs, shapes and types, and of a gradient's.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "api/sized.h"
#include "rapt/rapt.h"
#include "valid_problem.h"

namespace rapt {
namespace {

struct Refusal {
  const char* sentence;
  void (*spoil)(ValidProblem&);
  rapt_status code = RAPT_INVALID_ARGUMENT;
  rapt_dtype dtype = RAPT_FP32;
};

void expect_all_refused(Form form, std::initializer_list<Refusal> refusals) {
  for (const Refusal& refusal : refusals) {
    ValidProblem valid(form, refusal.dtype);
    refusal.spoil(valid);
    expect_refusal(valid.arena, refusal.sentence, refusal.code,
                   [&] { return rapt_attend(&valid.problem, nullptr); });
  }
}

TEST(ValidateAttention, TheFormsOfTheseTestsAreValid) {
  for (const Form form : {Form::dense, Form::ragged, Form::paged}) {
    ValidProblem valid(form);
    EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
  }
}

TEST(ValidateAttention, RefusesStructsOfNoKnownSize) {
  expect_all_refused(
      Form::dense, {{"problem: struct_size is 0; must be the struct's size, 664",
                     [](ValidProblem& v) { v.problem.struct_size = 0; }},
                    {"problem: struct_size is 663; must be the struct's size, 664",
                     [](ValidProblem& v) { v.problem.struct_size -= 1; }},
                    {"problem: struct_size is 18446744073709551615; must be the struct's size, 664",
                     [](ValidProblem& v) { v.problem.struct_size = SIZE_MAX; }},
                    {"mask: struct_size is 8; must be the struct's size, 32", [](ValidProblem& v) {
                       v.problem.mask = &v.mask;
                       v.mask.struct_size = 8;
                     }}});
  EXPECT_EQ(rapt_attend(nullptr, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "problem: is null");
}

TEST(ValidateAttention, RefusesEveryGroupOfNoKnownSize) {
  ValidProblem v;
  rapt_attention& p = v.problem;
  const rapt_attention plain = p;
  const auto expect = [&](const char* name, std::size_t size) {
    EXPECT_EQ(rapt_attend(&p, nullptr), RAPT_INVALID_ARGUMENT);
    const std::string start = std::string(name) + ": struct_size is 0; must be the struct's size, ";
    EXPECT_EQ(rapt_error_message(), start + std::to_string(size));
    p = plain;
  };
  const auto spoil = [&](const char* name, auto** group, auto& copy) {
    copy.struct_size = 0;
    *group = &copy;
    expect(name, sizeof copy);
  };
  spoil("softcap", &p.softcap, v.softcap);
  spoil("alibi", &p.alibi, v.alibi);
  spoil("bias", &p.bias, v.bias);
  spoil("sinks", &p.sinks, v.sinks);
  spoil("dropout", &p.dropout, v.dropout);
  spoil("descale", &p.descale, v.descale);
  spoil("ragged", &p.ragged, v.ragged);
  spoil("pages", &p.pages, v.pages);
  spoil("lengths", &p.lengths, v.lengths);
  spoil("positions", &p.positions, v.positions);
}

// A struct that has grown since version 0.1 by `added`.
struct Grown {
  std::size_t struct_size = 0;
  std::int64_t first = 0;
  std::int64_t added = 0;
};
constexpr Sizes kGrown = {offsetof(Grown, added), sizeof(Grown)};

TEST(ValidateAttention, OldStructsHaveZerosForWhatTheyDoNotKnow) {
  const Grown old = {offsetof(Grown, added), 7, 99};  // 99 lies behind what the caller lent
  Grown ours;
  EXPECT_TRUE(read_sized("grown", &old, kGrown, &ours).ok());
  EXPECT_EQ(ours.first, 7);
  EXPECT_EQ(ours.added, 0);
}

TEST(ValidateAttention, StructsOlderThanTheFirstVersionAreRefused) {
  const Grown older = {offsetof(Grown, added) - 1, 7, 0};
  Grown ours;
  EXPECT_EQ(read_sized("grown", &older, kGrown, &ours).sentence(),
            "grown: struct_size is 15; must be the struct's size, 24");
}

TEST(ValidateAttention, YoungerStructsPassWhileTheirNewFieldsAreZero) {
  struct Younger {
    rapt_attention problem;
    std::int64_t unknown = 0;
  } younger;
  ValidProblem valid;
  younger.problem = valid.problem;
  younger.problem.struct_size = sizeof younger;
  EXPECT_EQ(rapt_attend(&younger.problem, nullptr), RAPT_OK) << rapt_error_message();
  younger.unknown = 1;
  expect_refusal(valid.arena, "problem: has fields that this version of rapt does not know",
                 RAPT_INVALID_ARGUMENT, [&] { return rapt_attend(&younger.problem, nullptr); });
}

TEST(ValidateAttention, RefusesMissingTensors) {
  expect_all_refused(
      Form::dense,
      {
          {"q: is not given", [](ValidProblem& v) { v.problem.q = {}; }},
          {"k: is not given", [](ValidProblem& v) { v.problem.k = {}; }},
          {"v: is not given", [](ValidProblem& v) { v.problem.v = {}; }},
          {"out: is not given", [](ValidProblem& v) { v.problem.out = {}; }},
          {"alibi.slopes: is not given",
           [](ValidProblem& v) { v.problem.alibi = &v.alibi, v.alibi.slopes = {}; }},
          {"bias.bias: is not given",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias = {}; }},
          {"sinks.sinks: is not given",
           [](ValidProblem& v) { v.problem.sinks = &v.sinks, v.sinks.sinks = {}; }},
          {"ragged.q_offsets: is not given", [](ValidProblem& v) { v.problem.ragged = &v.ragged; }},
          {"pages.table: is not given", [](ValidProblem& v) { v.problem.pages = &v.pages; }},
      });
}

TEST(ValidateAttention, RefusesTypes) {
  expect_all_refused(Form::dense,
                     {
                         {"q: dtype is int8; must be fp32, fp16, bf16, fp8_e4m3 or fp8_e5m2",
                          [](ValidProblem& v) { v.problem.q.dtype = RAPT_INT8; }},
                         {"k: dtype is fp16; must be fp32",
                          [](ValidProblem& v) { v.problem.k.dtype = RAPT_FP16; }},
                         {"k: dtype is int8; must be fp32",
                          [](ValidProblem& v) { v.problem.k.dtype = RAPT_INT8; }},
                         {"v: dtype is bf16; must be fp32",
                          [](ValidProblem& v) { v.problem.v.dtype = RAPT_BF16; }},
                         {"out: dtype is fp16; must be fp32",
                          [](ValidProblem& v) { v.problem.out.dtype = RAPT_FP16; }},
                         {"out: dtype is bf16; must be fp16 or fp32",
                          [](ValidProblem& v) { v.problem.out.dtype = RAPT_BF16; },
                          RAPT_INVALID_ARGUMENT, RAPT_FP16},
                         {"out: dtype is fp8_e5m2; must be fp8_e4m3, fp16, bf16 or fp32",
                          [](ValidProblem& v) { v.problem.out.dtype = RAPT_FP8_E5M2; },
                          RAPT_INVALID_ARGUMENT, RAPT_FP8_E4M3},
                         {"lse: dtype is fp16; must be fp32",
                          [](ValidProblem& v) { v.problem.lse.dtype = RAPT_FP16; }},
                     });
}

TEST(ValidateAttention, RefusesDenseShapes) {
  expect_all_refused(
      Form::dense,
      {
          {"q: rank is 3; must be 4, [batch, q_len, q_heads, head_dim]",
           [](ValidProblem& v) { v.problem.q = v.arena.tensor(RAPT_FP32, {4, 4, 16}); }},
          {"q: q_heads is 0; must be 1 or more", [](ValidProblem& v) { v.problem.q.shape[2] = 0; }},
          {"q: head_dim is 12; must be a multiple of 8, 8 to 512",
           [](ValidProblem& v) { v.problem.q.shape[3] = 12; }},
          {"q: head_dim is 0; must be a multiple of 8, 8 to 512",
           [](ValidProblem& v) { v.problem.q.shape[3] = 0; }},
          {"q: head_dim is 520; must be a multiple of 8, 8 to 512",
           [](ValidProblem& v) { v.problem.q = v.arena.tensor(RAPT_FP32, {2, 4, 4, 520}); }},
          {"k: rank is 3; must be 4, [batch, kv_len, kv_heads, head_dim]",
           [](ValidProblem& v) { v.problem.k = v.arena.tensor(RAPT_FP32, {6, 2, 16}); }},
          {"k: batch is 1, q has 2", [](ValidProblem& v) { v.problem.k.shape[0] = 1; }},
          {"k: head_dim is 8, q has 16", [](ValidProblem& v) { v.problem.k.shape[3] = 8; }},
          {"k: kv_heads is 0; must be 1 or more",
           [](ValidProblem& v) { v.problem.k.shape[2] = v.problem.v.shape[2] = 0; }},
          {"k: kv_heads is 3, which does not divide q's 4",
           [](ValidProblem& v) { v.problem.k.shape[2] = v.problem.v.shape[2] = 3; }},
          {"v: rank is 3; must be 4, [batch, kv_len, kv_heads, value_dim]",
           [](ValidProblem& v) { v.problem.v = v.arena.tensor(RAPT_FP32, {6, 2, 8}); }},
          {"v: batch is 1, k has 2", [](ValidProblem& v) { v.problem.v.shape[0] = 1; }},
          {"v: kv_len is 5, k has 6", [](ValidProblem& v) { v.problem.v.shape[1] = 5; }},
          {"v: kv_heads is 1, k has 2", [](ValidProblem& v) { v.problem.v.shape[2] = 1; }},
          {"v: value_dim is 4; must be a multiple of 8, 8 to 512",
           [](ValidProblem& v) { v.problem.v.shape[3] = 4; }},
          {"lengths.cache_row: batch * kv_len overflows 64 bits",
           [](ValidProblem& v) {
             v.problem.lengths = &v.lengths;
             v.lengths.q_len = v.lengths.kv_len = v.lengths.left_pad = {};
             v.problem.q.shape[1] = v.problem.out.shape[1] = v.problem.lse.shape[2] = 0;
             v.problem.q.shape[0] = v.problem.out.shape[0] = v.problem.lse.shape[0] = 1 << 15;
             v.problem.k.shape[0] = v.problem.v.shape[0] = 1;
             v.problem.k.shape[1] = v.problem.v.shape[1] = std::int64_t{1} << 50;
             v.problem.k.strides[1] = v.problem.v.strides[1] = 0;
           }},
      });
}

TEST(ValidateAttention, RefusesOutputShapes) {
  expect_all_refused(
      Form::dense,
      {
          {"out: rank is 3; must be 4, [batch, q_len, q_heads, value_dim]",
           [](ValidProblem& v) { v.problem.out = v.arena.tensor(RAPT_FP32, {4, 4, 8}); }},
          {"out: batch is 1, q has 2", [](ValidProblem& v) { v.problem.out.shape[0] = 1; }},
          {"out: q_len is 3, q has 4", [](ValidProblem& v) { v.problem.out.shape[1] = 3; }},
          {"out: q_heads is 2, q has 4", [](ValidProblem& v) { v.problem.out.shape[2] = 2; }},
          {"out: value_dim is 7, v has 8", [](ValidProblem& v) { v.problem.out.shape[3] = 7; }},
          {"lse: rank is 2; must be 3, [batch, q_heads, q_len]",
           [](ValidProblem& v) { v.problem.lse = v.arena.tensor(RAPT_FP32, {4, 8}); }},
          {"lse: q_len is 3, q has 4", [](ValidProblem& v) { v.problem.lse.shape[2] = 3; }},
      });
  expect_all_refused(
      Form::ragged,
      {
          {"out: tokens is 6, q has 7", [](ValidProblem& v) { v.problem.out.shape[0] = 6; }},
          {"lse: tokens is 6, q has 7", [](ValidProblem& v) { v.problem.lse.shape[1] = 6; }},
      });
}

TEST(ValidateAttention, RefusesRaggedShapes) {
  expect_all_refused(
      Form::ragged,
      {
          {"q: rank is 4; must be 3, [tokens, q_heads, head_dim]",
           [](ValidProblem& v) { v.problem.q = v.arena.tensor(RAPT_FP32, {1, 7, 4, 16}); }},
          {"ragged.q_offsets: rank is 2; must be 1, [batch + 1]",
           [](ValidProblem& v) { v.ragged.q_offsets = v.arena.tensor(RAPT_INT32, {1, 3}); }},
          {"ragged.q_offsets: is empty; must have batch + 1 entries",
           [](ValidProblem& v) { v.ragged.q_offsets.shape[0] = 0; }},
          {"k: rank is 4; must be 3, [tokens, kv_heads, head_dim]",
           [](ValidProblem& v) { v.problem.k = v.arena.tensor(RAPT_FP32, {1, 9, 2, 16}); }},
          {"v: tokens is 8, k has 9", [](ValidProblem& v) { v.problem.v.shape[0] = 8; }},
          {"ragged.kv_offsets: batch + 1 is 2, ragged.q_offsets has 3",
           [](ValidProblem& v) { v.ragged.kv_offsets.shape[0] = 2; }},
          {"k: batch is 3, ragged.q_offsets has 2",
           [](ValidProblem& v) {
             v.ragged.kv_offsets = {};
             v.problem.k = v.arena.tensor(RAPT_FP32, {3, 6, 2, 16});
           }},
      });
}

TEST(ValidateAttention, RefusesPagedShapes) {
  expect_all_refused(
      Form::paged,
      {
          {"k: rank is 3; must be 4, [pages, page_size, kv_heads, dim]",
           [](ValidProblem& v) { v.problem.k = v.arena.tensor(RAPT_FP32, {5, 2, 16}); }},
          {"k: page_size is 4, the call has 8", [](ValidProblem& v) { v.pages.page_size = 8; }},
          {"k: head_dim is 8, q has 16", [](ValidProblem& v) { v.problem.k.shape[3] = 8; }},
          {"v: pages is 4, k has 5", [](ValidProblem& v) { v.problem.v.shape[0] = 4; }},
          {"v: kv_heads is 1, k has 2", [](ValidProblem& v) { v.problem.v.shape[2] = 1; }},
          {"pages.table: dtype is uint32; must be int32",
           [](ValidProblem& v) { v.pages.table.dtype = RAPT_UINT32; }},
          {"pages.table: rank is 1; must be 2, [batch, max_pages]",
           [](ValidProblem& v) { v.pages.table = v.arena.int32s({0, 1}); }},
          {"pages.table: batch is 1, q has 2", [](ValidProblem& v) { v.pages.table.shape[0] = 1; }},
          {"pages.layout: is 4; must be one of rapt_page_layout",
           [](ValidProblem& v) { v.pages.layout = 4; }},
          {"pages.page_size: is 3; must be a power of two, 1 to 256",
           [](ValidProblem& v) { v.pages.page_size = 3; }},
          {"pages.page_size: is 0; must be a power of two, 1 to 256",
           [](ValidProblem& v) { v.pages.page_size = 0; }},
          {"pages.page_size: is 512; must be a power of two, 1 to 256",
           [](ValidProblem& v) { v.pages.page_size = 512; }},
          {"ragged.kv_offsets: k and v are paged; lengths.kv_len says their lengths",
           [](ValidProblem& v) {
             v.problem.q = v.arena.tensor(RAPT_FP32, {7, 4, 16});
             v.problem.ragged = &v.ragged;
             v.ragged.q_offsets = v.ragged.kv_offsets = v.arena.int32s({0, 4, 7});
           }},
      });
}

// Shapes alone are looked at here: no memory holds such a table.
TEST(ValidateAttention, RefusesAPageTableTooLargeForSizes) {
  ValidProblem valid(Form::paged);
  valid.problem.k = valid.arena.tensor(RAPT_FP32, {5, 16, 2, 16});
  valid.problem.v = valid.arena.tensor(RAPT_FP32, {5, 16, 2, 8});
  valid.pages.page_size = 16;
  valid.pages.table.strides[0] = 0;
  valid.pages.table.shape[1] = std::int64_t{1} << 60;
  expect_refusal(valid.arena, "pages.table: its sizes overflow 64 bits", RAPT_INVALID_ARGUMENT,
                 [&] { return rapt_prepare(&valid.problem, nullptr); });
  valid.pages.table.shape[1] = std::int64_t{1} << 59;
  expect_refusal(valid.arena, "pages.table: batch * max_pages * page_size overflows 64 bits",
                 RAPT_INVALID_ARGUMENT, [&] { return rapt_prepare(&valid.problem, nullptr); });
}

struct LayoutRefusal {
  const char* sentence;
  rapt_page_layout layout;
  std::initializer_list<std::int64_t> k, v;
};

TEST(ValidateAttention, RefusesShapesOfTheOtherLayouts) {
  const LayoutRefusal refusals[] = {
      {"k: rank is 3; must be 4, [pages, kv_heads, page_size, dim]",
       RAPT_HEAD_PAGE_DIM,
       {5, 2, 16},
       {5, 2, 4, 8}},
      {"v: page_size is 2, the call has 4", RAPT_HEAD_PAGE_DIM, {5, 2, 4, 16}, {5, 4, 2, 8}},
      {"k: rank is 3; must be 4, [pages, kv_heads, dim, page_size]",
       RAPT_HEAD_DIM_PAGE,
       {5, 2, 16},
       {5, 2, 8, 4}},
      {"v: page_size is 8, the call has 4", RAPT_HEAD_DIM_PAGE, {5, 2, 16, 4}, {5, 2, 4, 8}},
      {"k: rank is 4; must be 5, [pages, kv_heads, dim / x, page_size, x]",
       RAPT_X_PACKED,
       {5, 2, 16, 4},
       {5, 2, 8, 4}},
      {"k: x is 8, a group of 16 bytes has 4", RAPT_X_PACKED, {5, 2, 2, 4, 8}, {5, 2, 8, 4}},
      {"k: head_dim is 12, q has 16", RAPT_X_PACKED, {5, 2, 3, 4, 4}, {5, 2, 8, 4}},
  };
  for (const LayoutRefusal& refusal : refusals) {
    ValidProblem valid(Form::paged);
    valid.pages.layout = refusal.layout;
    valid.problem.k = valid.arena.tensor(RAPT_FP32, refusal.k);
    valid.problem.v = valid.arena.tensor(RAPT_FP32, refusal.v);
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT,
                   [&] { return rapt_attend(&valid.problem, nullptr); });
  }
}

TEST(ValidateAttention, AcceptsEveryLayout) {
  const LayoutRefusal layouts[] = {
      {"", RAPT_HEAD_PAGE_DIM, {5, 2, 4, 16}, {5, 2, 4, 8}},
      {"", RAPT_HEAD_DIM_PAGE, {5, 2, 16, 4}, {5, 2, 8, 4}},
      {"", RAPT_X_PACKED, {5, 2, 4, 4, 4}, {5, 2, 8, 4}},
  };
  for (const LayoutRefusal& layout : layouts) {
    ValidProblem valid(Form::paged);
    valid.pages.layout = layout.layout;
    valid.problem.k = valid.arena.tensor(RAPT_FP32, layout.k);
    valid.problem.v = valid.arena.tensor(RAPT_FP32, layout.v);
    EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
  }
}

TEST(ValidateAttention, EightBitInputsAreValidAndUnsupported) {
  ValidProblem valid(Form::dense, RAPT_FP8_E4M3);
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_UNSUPPORTED);
  const std::string sentence = rapt_error_message();
  EXPECT_EQ(sentence.substr(0, sentence.find(" (cpu/")),
            "q: dtype is fp8_e4m3, a CPU kernel takes fp32, fp16 or bf16");
}

// A gradient of a valid problem, with every optional part.
struct ValidGradient {
  ValidProblem forward;
  rapt_gradient gradient = {};

  explicit ValidGradient(Form form = Form::dense) : forward(form) {
    rapt_attention& p = forward.problem;
    p.bias = &forward.bias;
    p.sinks = &forward.sinks;
    p.alibi = &forward.alibi;
    gradient.struct_size = sizeof gradient;
    gradient.forward = &p;
    gradient.d_out = like(p.out);
    gradient.dq = like(p.q);
    gradient.dk = like(p.k);
    gradient.dv = like(p.v);
    gradient.d_bias = like(forward.bias.bias);
    gradient.d_sinks = like(forward.sinks.sinks);
    gradient.d_slopes = like(forward.alibi.slopes);
  }

  rapt_tensor like(const rapt_tensor& t) {
    std::size_t bytes = rapt_dtype_bytes(t.dtype);
    for (std::int32_t d = 0; d < t.rank; ++d) bytes *= static_cast<std::size_t>(t.shape[d]);
    rapt_tensor copy = t;
    copy.data = forward.arena.tensor(RAPT_INT8, {static_cast<std::int64_t>(bytes)}).data;
    return copy;
  }
};

struct GradientRefusal {
  const char* sentence;
  void (*spoil)(ValidGradient&);
  rapt_status code = RAPT_INVALID_ARGUMENT;
};

TEST(ValidateAttention, RefusesGradients) {
  const GradientRefusal refusals[] = {
      {"lengths.cache_row: row 1 serves sequences 0 and 1; a gradient wants a row of its own for "
       "each",
       [](ValidGradient& g) {
         g.forward.problem.lengths = &g.forward.lengths;
         int32_at(g.forward.lengths.cache_row, 1) = 1;
       },
       RAPT_UNSUPPORTED},
      {"gradient: struct_size is 0; must be the struct's size, 800",
       [](ValidGradient& g) { g.gradient.struct_size = 0; }},
      {"forward: is null", [](ValidGradient& g) { g.gradient.forward = nullptr; }},
      {"q: is not given", [](ValidGradient& g) { g.forward.problem.q = {}; }},
      {"lse: is not given", [](ValidGradient& g) { g.forward.problem.lse = {}; }},
      {"d_out: is not given", [](ValidGradient& g) { g.gradient.d_out = {}; }},
      {"dq: is not given", [](ValidGradient& g) { g.gradient.dq = {}; }},
      {"dk: is not given", [](ValidGradient& g) { g.gradient.dk = {}; }},
      {"dv: is not given", [](ValidGradient& g) { g.gradient.dv = {}; }},
      {"dq: rank is 3, q has 4",
       [](ValidGradient& g) { g.gradient.dq = g.forward.arena.tensor(RAPT_FP32, {8, 4, 16}); }},
      {"dk: shape[1] is 5, k has 6", [](ValidGradient& g) { g.gradient.dk.shape[1] = 5; }},
      {"dv: dtype is fp16; must be fp32",
       [](ValidGradient& g) { g.gradient.dv.dtype = RAPT_FP16; }},
      {"dv: strides[0] is -8; must be 0 or more",
       [](ValidGradient& g) { g.gradient.dv.strides[0] = -8; }},
      {"dk: strides[0] is 0, so its elements overlap; an output must have each once",
       [](ValidGradient& g) { g.gradient.dk.strides[0] = 0; }},
      {"dq: is on device 1:0, q on 0:0",
       [](ValidGradient& g) { g.gradient.dq.device_kind = RAPT_CUDA; }},
      {"d_bias: the problem has no bias",
       [](ValidGradient& g) { g.forward.problem.bias = nullptr; }},
      {"d_sinks: the problem has no sinks",
       [](ValidGradient& g) { g.forward.problem.sinks = nullptr; }},
      {"d_slopes: the problem has no alibi",
       [](ValidGradient& g) { g.forward.problem.alibi = nullptr; }},
      {"d_bias: dtype is fp16; must be fp32",
       [](ValidGradient& g) { g.gradient.d_bias.dtype = RAPT_FP16; }},
      {"d_sinks: shape[0] is 3, sinks has 4",
       [](ValidGradient& g) { g.gradient.d_sinks.shape[0] = 3; }},
      {"dq: overlaps q in memory",
       [](ValidGradient& g) { g.gradient.dq.data = g.forward.problem.q.data; }},
      {"dv: overlaps out in memory",
       [](ValidGradient& g) { g.gradient.dv.data = g.forward.problem.out.data; }},
      {"dv: overlaps d_out in memory",
       [](ValidGradient& g) { g.gradient.d_out.data = g.gradient.dv.data; }},
      {"dk: overlaps dv in memory",
       [](ValidGradient& g) { g.gradient.dv.data = g.gradient.dk.data; }},
      {"options.threads: is -1; must be 0 or more", nullptr},
  };
  for (const GradientRefusal& refusal : refusals) {
    ValidGradient valid;
    rapt_options options = {};
    options.struct_size = sizeof options;
    refusal.spoil != nullptr ? refusal.spoil(valid) : void(options.threads = -1);
    expect_refusal(valid.forward.arena, refusal.sentence, refusal.code,
                   [&] { return rapt_attend_backward(&valid.gradient, &options); });
  }
}

TEST(ValidateAttention, GradientsReadTheForwardIndices) {
  ValidGradient valid(Form::ragged);
  valid.gradient.d_slopes = {};
  int32_at(valid.forward.ragged.q_offsets, 0) = 1;
  EXPECT_EQ(rapt_attend_backward(&valid.gradient, nullptr), RAPT_INVALID_ARGUMENT);
  EXPECT_STREQ(rapt_error_message(), "ragged.q_offsets: starts at 1; must start at 0");
}

TEST(ValidateAttention, InputsOfAGradientMayRepeat) {
  ValidGradient valid;
  valid.gradient.d_out.strides[0] = 0;
  EXPECT_EQ(rapt_attend_backward(&valid.gradient, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateAttention, GradientsOfPagedCachesAreUnsupported) {
  ValidGradient valid(Form::paged);
  EXPECT_EQ(rapt_attend_backward(&valid.gradient, nullptr), RAPT_UNSUPPORTED);
  EXPECT_EQ(std::string(rapt_error_message()).rfind("pages: a CPU kernel has no gradient", 0), 0U)
      << rapt_error_message();
}

TEST(ValidateAttention, ExplainsGradientsWithoutData) {
  ValidGradient valid;
  for (rapt_tensor* t : {&valid.gradient.dq, &valid.gradient.dk, &valid.gradient.dv}) {
    t->data = nullptr;
  }
  char text[4096];
  EXPECT_EQ(rapt_explain_backward(&valid.gradient, nullptr, text, sizeof text, nullptr), RAPT_OK)
      << rapt_error_message();
  EXPECT_NE(std::string(text).find("_backward\""), std::string::npos) << text;
  valid.gradient.dv = {};
  EXPECT_EQ(rapt_explain_backward(&valid.gradient, nullptr, text, sizeof text, nullptr),
            RAPT_INVALID_ARGUMENT);
}

}  // namespace
}  // namespace rapt
