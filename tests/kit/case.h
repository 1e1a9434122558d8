// SPDX-License-Identifier: Apache-2.0 OR MIT
// A case: one attention problem as a line of text, `key=value ...`. The one grammar of explain,
// bench, verify and of every reproducer; the kit turns it into tensors, an oracle's answer and a
// verdict.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "rapt/rapt.h"

namespace rapt::kit {

// Every key of the grammar; a key left out has the value written here. docs/cases.md lists them.
struct Case {
  rapt_dtype dtype = RAPT_FP32;         // dtype=fp32|fp16|bf16|fp8_e4m3|fp8_e5m2
  rapt_dtype out_dtype = RAPT_NONE;     // out_dtype=...; default: dtype
  std::string direction = "forward";    // direction=forward|backward
  std::int64_t batch = 1;               // batch=
  std::int64_t q_len = 128;             // q_len=   longest sequence
  std::int64_t kv_len = -1;             // kv_len=  default q_len
  std::int64_t q_heads = 1;             // q_heads=
  std::int64_t kv_heads = -1;           // kv_heads=  default q_heads
  std::int64_t head_dim = 64;           // head_dim=
  std::int64_t value_dim = -1;          // value_dim=  default head_dim
  std::string mask = "full";            // mask=full|causal|band
  std::int64_t left = RAPT_UNBOUNDED;   // left=N|inf   (mask=band)
  std::int64_t right = RAPT_UNBOUNDED;  // right=N|inf  (mask=band)
  std::int64_t sink_tokens = 0;         // sink_tokens=
  double scale = 0;                     // scale=  0 = default
  double softcap = 0;                   // softcap=
  std::string alibi = "none";           // alibi=none|head|batch
  std::string bias = "none";            // bias=none|fp32|fp16|bf16
  std::string bias_dims =
      "bhq";                 // bias_dims= letters of the dimensions not broadcast ("" = keys only)
  bool sinks = false;        // sinks=0|1
  double dropout = 0;        // dropout=
  bool lse = true;           // lse=0|1
  std::string q = "dense";   // q=dense|ragged
  std::string kv = "dense";  // kv=dense|ragged|paged
  std::int64_t page_size = 0;  // page_size=  > 0 means kv=paged
  std::string layout =
      "page_head_dim";                // layout=page_head_dim|head_page_dim|head_dim_page|x_packed
  std::vector<std::int64_t> q_lens;   // q_lens=3,0,5   used lengths; default all q_len
  std::vector<std::int64_t> kv_lens;  // kv_lens=...    keys a sequence has; default all kv_len
  bool cache_row = false;      // cache_row=0|1  dense k/v: rows shuffled, cache larger than batch
  bool left_pad = false;       // left_pad=0|1   dense k/v
  bool positions = false;      // positions=0|1  random q_start and kv_start
  std::string order = "bshd";  // order=bshd|bhsd|padded  memory order; padded: gaps everywhere
  std::string values = "normal";  // values=normal|offset|outliers|large|nan|inf
  std::uint64_t seed = 1;         // seed=
};

// Empty string, or the sentence that says what is wrong with the text. The case has every default
// filled in: batch and q_len from q_lens and so on, as docs/cases.md says.
std::string parse_case(const std::string& text, Case& out);

// A case made by hand, its unset sizes and dtypes (-1, RAPT_NONE) filled in.
Case with_defaults(Case c);

// The shortest text that parses to this case: the reproducer.
std::string print_case(const Case& c);

// One sequence of a case: lengths, places and positions, the random ones from the case's seed.
struct CaseSequence {
  std::int64_t q_len = 0;
  std::int64_t kv_len = 0;
  std::int64_t left_pad = 0;   // dense k, v: rows in front of key 0
  std::int64_t cache_row = 0;  // dense k, v: row of their batch dimension
  std::int64_t q_start = 0;
  std::int64_t kv_start = 0;
};
std::vector<CaseSequence> case_sequences(const Case& c);

// Does query i of a sequence see key j? The mask of rapt.h, written as it stands there.
bool case_sees(const Case& c, const CaseSequence& sequence, std::int64_t i, std::int64_t j);
// How many keys query i sees.
std::int64_t case_visible_keys(const Case& c, const CaseSequence& sequence, std::int64_t i);
// Does any query of the sequence see key j?
bool case_needs(const Case& c, const CaseSequence& sequence, std::int64_t j);

// Operations that a visible score costs: 2 * (head_dim + value_dim), backward 2 * (3 * head_dim +
// 2 * value_dim); and in all. Bytes that the call must move at least.
double case_flops_a_score(const Case& c);
double case_flops(const Case& c);
double case_bytes(const Case& c);
// Scores that the mask and the lengths leave visible, all heads.
double case_scores(const Case& c);

}  // namespace rapt::kit
