// SPDX-License-Identifier: Apache-2.0 OR MIT
// What is refused of the feature groups, and which groups go together.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "rapt/rapt.h"
#include "valid_problem.h"

namespace rapt {
namespace {

struct Refusal {
  const char* sentence;
  void (*spoil)(ValidProblem&);
};

void expect_all_refused(Form form, std::initializer_list<Refusal> refusals,
                        rapt_dtype dtype = RAPT_FP32) {
  for (const Refusal& refusal : refusals) {
    ValidProblem valid(form, dtype);
    refusal.spoil(valid);
    expect_refusal(valid.arena, refusal.sentence, RAPT_INVALID_ARGUMENT,
                   [&] { return rapt_attend(&valid.problem, nullptr); });
  }
}

TEST(ValidateGroups, RefusesMasks) {
  expect_all_refused(
      Form::dense, {
                       {"mask.left: is -3; must be 0 or more, or RAPT_UNBOUNDED",
                        [](ValidProblem& v) { v.problem.mask = &v.mask, v.mask.left = -3; }},
                       {"mask.right: is -1; must be 0 or more, or RAPT_UNBOUNDED",
                        [](ValidProblem& v) { v.problem.mask = &v.mask, v.mask.right = -1; }},
                       {"mask.sink_tokens: is -2; must be 0 or more",
                        [](ValidProblem& v) { v.problem.mask = &v.mask, v.mask.sink_tokens = -2; }},
                   });
}

TEST(ValidateGroups, RefusesNumbersThatAreNotFinite) {
  expect_all_refused(
      Form::dense,
      {
          {"scale: is nan; must be finite",
           [](ValidProblem& v) { v.problem.scale = &v.scale, v.scale = std::nanf(""); }},
          {"scale: is inf; must be finite",
           [](ValidProblem& v) { v.problem.scale = &v.scale, v.scale = HUGE_VALF; }},
          {"softcap.cap: is -1; must be finite and 0 or more",
           [](ValidProblem& v) { v.problem.softcap = &v.softcap, v.softcap.cap = -1; }},
          {"softcap.cap: is inf; must be finite and 0 or more",
           [](ValidProblem& v) { v.problem.softcap = &v.softcap, v.softcap.cap = HUGE_VALF; }},
          {"dropout.probability: is nan; must be 0 or more, below 1 - 1/512",
           [](ValidProblem& v) {
             v.problem.dropout = &v.dropout;
             v.dropout.probability = std::nanf("");
           }},
          {"dropout.probability: is -0.1; must be 0 or more, below 1 - 1/512",
           [](ValidProblem& v) { v.problem.dropout = &v.dropout, v.dropout.probability = -0.1F; }},
          {"dropout.probability: is 1; must be 0 or more, below 1 - 1/512",
           [](ValidProblem& v) { v.problem.dropout = &v.dropout, v.dropout.probability = 1; }},
      });
}

TEST(ValidateGroups, RefusesSlopesAndSinks) {
  expect_all_refused(
      Form::dense,
      {
          {"alibi.slopes: dtype is bf16; must be fp32",
           [](ValidProblem& v) { v.problem.alibi = &v.alibi, v.alibi.slopes.dtype = RAPT_BF16; }},
          {"alibi.slopes: batch is 1, q has 2",
           [](ValidProblem& v) { v.problem.alibi = &v.alibi, v.alibi.slopes.shape[0] = 1; }},
          {"alibi.slopes: q_heads is 3, q has 4",
           [](ValidProblem& v) {
             v.problem.alibi = &v.alibi;
             v.alibi.slopes = v.arena.tensor(RAPT_FP32, {3});
           }},
          {"sinks.sinks: dtype is fp16; must be fp32",
           [](ValidProblem& v) { v.problem.sinks = &v.sinks, v.sinks.sinks.dtype = RAPT_FP16; }},
          {"sinks.sinks: q_heads is 3, q has 4",
           [](ValidProblem& v) { v.problem.sinks = &v.sinks, v.sinks.sinks.shape[0] = 3; }},
      });
}

TEST(ValidateGroups, RefusesBiases) {
  expect_all_refused(
      Form::dense,
      {
          {"bias.bias: dtype is int8; must be fp32, fp16 or bf16",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.dtype = RAPT_INT8; }},
          {"bias.bias: rank is 3; must be 4, [batch, q_heads, q_len, kv_len]",
           [](ValidProblem& v) {
             v.problem.bias = &v.bias;
             v.bias.bias = v.arena.tensor(RAPT_FP32, {4, 4, 6});
           }},
          {"bias.bias: batch is 3; must be 1 or 2",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.shape[0] = 3; }},
          {"bias.bias: q_heads is 2; must be 1 or 4",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.shape[1] = 2; }},
          {"bias.bias: q_len is 3; must be 1 or 4",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.shape[2] = 3; }},
          {"bias.bias: kv_len is 5; must be 1 or 6",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.shape[3] = 5; }},
      });
  expect_all_refused(
      Form::ragged,
      {
          {"bias.bias: q_len is 3, sequence 0 has 4",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.shape[2] = 3; }},
          {"bias.bias: kv_len is 5, sequence 0 has 6",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.shape[3] = 5; }},
          {"bias.bias: q_len is 0; must be 1 or 7",
           [](ValidProblem& v) { v.problem.bias = &v.bias, v.bias.bias.shape[2] = 0; }},
      });
}

TEST(ValidateGroups, AcceptsBiasesBroadcastEitherWay) {
  ValidProblem valid;
  valid.problem.bias = &valid.bias;
  for (std::int32_t d = 0; d < 4; ++d) {
    valid.bias.bias.strides[d] = 0;
    EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << d << rapt_error_message();
  }
  valid.bias.bias = valid.arena.tensor(RAPT_BF16, {1, 1, 1, 1});
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_OK) << rapt_error_message();
}

TEST(ValidateGroups, RefusesFactorsOfWiderTensors) {
  expect_all_refused(Form::dense, {
                                      {"descale.q: q is fp32; only 8-bit tensors have factors",
                                       [](ValidProblem& v) {
                                         v.problem.descale = &v.descale;
                                         v.descale.q = v.arena.tensor(RAPT_FP32, {2, 2});
                                       }},
                                      {"descale.v: v is fp32; only 8-bit tensors have factors",
                                       [](ValidProblem& v) {
                                         v.problem.descale = &v.descale;
                                         v.descale.v = v.arena.tensor(RAPT_FP32, {2, 2});
                                       }},
                                  });
}

TEST(ValidateGroups, RefusesFactors) {
  expect_all_refused(Form::dense,
                     {
                         {"descale.q: dtype is fp16; must be fp32",
                          [](ValidProblem& v) {
                            v.problem.descale = &v.descale;
                            v.descale.q = v.arena.tensor(RAPT_FP16, {2, 2});
                          }},
                         {"descale.k: rank is 1; must be 2, [batch, kv_heads]",
                          [](ValidProblem& v) {
                            v.problem.descale = &v.descale;
                            v.descale.k = v.arena.tensor(RAPT_FP32, {2});
                          }},
                         {"descale.k: batch is 3, q has 2",
                          [](ValidProblem& v) {
                            v.problem.descale = &v.descale;
                            v.descale.k = v.arena.tensor(RAPT_FP32, {3, 2});
                          }},
                     },
                     RAPT_FP8_E4M3);
  expect_all_refused(Form::paged,
                     {
                         {"descale.k: pages is 2, k has 5",
                          [](ValidProblem& v) {
                            v.problem.descale = &v.descale;
                            v.descale.k = v.arena.tensor(RAPT_FP32, {2, 2});
                          }},
                         {"descale.v: kv_heads is 3, k has 2",
                          [](ValidProblem& v) {
                            v.problem.descale = &v.descale;
                            v.descale.v = v.arena.tensor(RAPT_FP32, {3});
                          }},
                     },
                     RAPT_FP8_E5M2);
}

TEST(ValidateGroups, FactorsOfAnEightBitCacheAreValidAndUnsupported) {
  ValidProblem valid(Form::paged, RAPT_BF16);
  valid.problem.k.dtype = valid.problem.v.dtype = RAPT_INT8;
  valid.problem.descale = &valid.descale;
  valid.descale.k = valid.arena.tensor(RAPT_FP32, {5, 2});
  valid.descale.v = valid.arena.tensor(RAPT_FP32, {2});
  EXPECT_EQ(rapt_attend(&valid.problem, nullptr), RAPT_UNSUPPORTED);
  const std::string sentence = rapt_error_message();
  EXPECT_EQ(sentence.substr(0, sentence.find(" (")),
            "k: dtype is int8 under a q of bf16; no kernel of this version reads such a cache");
}

TEST(ValidateGroups, RefusesOffsetsAndBounds) {
  expect_all_refused(Form::ragged,
                     {
                         {"ragged.q_offsets: dtype is int64; must be int32 or uint32",
                          [](ValidProblem& v) { v.ragged.q_offsets = v.arena.int64s({0, 4, 7}); }},
                         {"ragged.kv_offsets: dtype is int64; must be int32 or uint32",
                          [](ValidProblem& v) { v.ragged.kv_offsets = v.arena.int64s({0, 6, 9}); }},
                         {"ragged.max_q_len: is -1; must be 0 or more",
                          [](ValidProblem& v) { v.ragged.max_q_len = -1; }},
                         {"ragged.max_kv_len: is -1; must be 0 or more",
                          [](ValidProblem& v) { v.ragged.max_kv_len = -1; }},
                         {"ragged.max_kv_len: is 5; must be 0 without kv_offsets",
                          [](ValidProblem& v) {
                            v.ragged.kv_offsets = {};
                            v.ragged.max_kv_len = 5;
                            v.problem.k = v.arena.tensor(RAPT_FP32, {2, 6, 2, 16});
                            v.problem.v = v.arena.tensor(RAPT_FP32, {2, 6, 2, 8});
                          }},
                     });
}

TEST(ValidateGroups, RefusesLengthsThatAnotherGroupSays) {
  expect_all_refused(
      Form::ragged, {
                        {"lengths.q_len: q is ragged; ragged.q_offsets says its lengths",
                         [](ValidProblem& v) {
                           v.problem.lengths = &v.lengths;
                           v.lengths.q_len = v.arena.int32s({4, 3});
                         }},
                        {"lengths.kv_len: k and v are ragged; ragged.kv_offsets says their lengths",
                         [](ValidProblem& v) {
                           v.problem.lengths = &v.lengths;
                           v.lengths.kv_len = v.arena.int32s({6, 3});
                         }},
                        {"lengths.left_pad: k and v are ragged; it belongs to a dense cache",
                         [](ValidProblem& v) {
                           v.problem.lengths = &v.lengths;
                           v.lengths.left_pad = v.arena.int32s({0, 0});
                         }},
                    });
  expect_all_refused(Form::paged,
                     {
                         {"lengths.kv_len: is not given; a paged cache needs it",
                          [](ValidProblem& v) { v.problem.lengths = nullptr; }},
                         {"lengths.kv_len: is not given; a paged cache needs it",
                          [](ValidProblem& v) { v.lengths.kv_len = {}; }},
                         {"lengths.cache_row: k and v are paged; it belongs to a dense cache",
                          [](ValidProblem& v) { v.lengths.cache_row = v.arena.int32s({0, 1}); }},
                     });
}

TEST(ValidateGroups, RefusesVectorsOfTheWrongKind) {
  expect_all_refused(Form::dense, {
                                      {"lengths.q_len: dtype is int64; must be int32",
                                       [](ValidProblem& v) {
                                         v.problem.lengths = &v.lengths;
                                         v.lengths.q_len = v.arena.int64s({4, 3});
                                       }},
                                      {"lengths.kv_len: batch is 3, q has 2",
                                       [](ValidProblem& v) {
                                         v.problem.lengths = &v.lengths;
                                         v.lengths.kv_len = v.arena.int32s({4, 3, 2});
                                       }},
                                      {"lengths.cache_row: rank is 2; must be 1, [batch]",
                                       [](ValidProblem& v) {
                                         v.problem.lengths = &v.lengths;
                                         v.lengths.cache_row = v.arena.tensor(RAPT_INT32, {2, 1});
                                       }},
                                      {"positions.q_start: dtype is uint32; must be int32 or int64",
                                       [](ValidProblem& v) {
                                         v.problem.positions = &v.positions;
                                         v.positions.q_start.dtype = RAPT_UINT32;
                                       }},
                                      {"positions.kv_start: batch is 1, q has 2",
                                       [](ValidProblem& v) {
                                         v.problem.positions = &v.positions;
                                         v.positions.kv_start.shape[0] = 1;
                                       }},
                                  });
}

TEST(ValidateGroups, AcceptsEveryGroupAtOnce) {
  ValidProblem v;
  v.problem.scale = &v.scale;
  v.problem.mask = &v.mask;
  v.problem.softcap = &v.softcap;
  v.problem.alibi = &v.alibi;
  v.problem.bias = &v.bias;
  v.problem.sinks = &v.sinks;
  v.problem.dropout = &v.dropout;
  v.problem.descale = &v.descale;
  v.problem.lengths = &v.lengths;
  v.problem.positions = &v.positions;
  EXPECT_EQ(rapt_attend(&v.problem, nullptr), RAPT_OK) << rapt_error_message();
  v.alibi.slopes = v.arena.tensor(RAPT_FP32, {4});
  v.dropout.probability = 0;
  v.softcap.cap = 0;
  EXPECT_EQ(rapt_attend(&v.problem, nullptr), RAPT_OK) << rapt_error_message();
}

}  // namespace
}  // namespace rapt
