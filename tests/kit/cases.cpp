// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every feature, layout and type by name, and the lengths at which kernels go wrong: around tile
// borders, 0, 1, and beyond several blocks of keys. A new feature gets its line here.
#include "kit/cases.h"

#include <stdexcept>

namespace rapt::kit {
namespace {

const NamedCase kCases[] = {
    // Types.
    {"fp32_full", "q_len=70 kv_len=130 q_heads=2"},
    {"fp16_full", "dtype=fp16 q_len=70 kv_len=130 q_heads=2"},
    {"bf16_full", "dtype=bf16 q_len=70 kv_len=130 q_heads=2"},
    {"fp16_fp32_out", "dtype=fp16 out_dtype=fp32 q_len=33 kv_len=200"},
    {"bf16_fp32_out", "dtype=bf16 out_dtype=fp32 q_len=33 kv_len=200"},
    {"no_lse", "lse=0 q_len=20"},

    // Lengths around tile borders.
    {"len_1", "q_len=1 kv_len=1"},
    {"len_2_1", "q_len=2 kv_len=1"},
    {"len_15_16", "q_len=15 kv_len=16"},
    {"len_17_31", "q_len=17 kv_len=31"},
    {"len_32_33", "q_len=32 kv_len=33 mask=causal"},
    {"len_63_64", "q_len=63 kv_len=64 mask=causal"},
    {"len_65_127", "q_len=65 kv_len=127 mask=causal"},
    {"len_64_128", "q_len=64 kv_len=128 mask=causal"},
    {"len_66_129", "q_len=66 kv_len=129 mask=causal dtype=bf16"},
    {"len_127_255", "q_len=127 kv_len=255 mask=causal dtype=fp16"},
    {"len_129_257", "q_len=129 kv_len=257 mask=causal dtype=bf16"},
    {"len_40_1000", "q_len=40 kv_len=1000 mask=causal"},

    // Nothing to see.
    {"zero_queries", "q_len=0 kv_len=10"},
    {"zero_keys", "q_len=5 kv_len=0"},
    {"zero_batch", "batch=0 q_len=5"},
    {"zero_length_ragged",
     "q=ragged kv=ragged q_lens=0,7,3,0 kv_lens=5,0,9,0 mask=causal q_heads=2"},
    {"zero_length_paged", "page_size=16 q_len=2 q_lens=2,2,0 kv_lens=0,40,17 dtype=bf16"},
    {"empty_rows_causal", "q_len=40 kv_len=9 mask=causal"},
    {"empty_rows_band", "q_len=30 kv_len=30 left=2 right=0 positions=1 seed=4"},
    {"empty_rows_sinks", "q_len=40 kv_len=9 mask=causal sinks=1 q_heads=2"},

    // Dimensions.
    {"head_dim_8", "head_dim=8 q_len=20 kv_len=150"},
    {"head_dim_24", "head_dim=24 q_len=20 kv_len=150 dtype=fp16"},
    {"head_dim_40", "head_dim=40 q_len=20 kv_len=150 dtype=bf16 mask=causal"},
    {"head_dim_80", "head_dim=80 q_len=33 kv_len=200 dtype=bf16"},
    {"head_dim_96", "head_dim=96 q_len=33 kv_len=200"},
    {"head_dim_128", "head_dim=128 q_len=33 kv_len=200 mask=causal"},
    {"head_dim_136", "head_dim=136 q_len=20 kv_len=200 dtype=bf16"},
    {"head_dim_256", "head_dim=256 q_len=20 kv_len=200"},
    {"head_dim_264", "head_dim=264 q_len=10 kv_len=140 dtype=fp16"},
    {"head_dim_512", "head_dim=512 q_len=10 kv_len=140 mask=causal"},
    {"value_dim_8", "head_dim=64 value_dim=8 q_len=20 kv_len=150"},
    {"value_dim_256", "head_dim=64 value_dim=256 q_len=20 kv_len=150 dtype=bf16"},
    {"value_dim_512_192", "head_dim=192 value_dim=512 q_len=9 kv_len=150"},

    // Heads.
    {"gqa_4", "q_heads=8 kv_heads=2 q_len=37 kv_len=150 mask=causal"},
    {"gqa_3", "q_heads=6 kv_heads=2 q_len=37 kv_len=150 dtype=bf16"},
    {"mqa_8", "q_heads=8 kv_heads=1 q_len=13 kv_len=150 dtype=fp16"},
    {"mqa_71", "q_heads=71 kv_heads=1 q_len=2 kv_len=60 head_dim=16"},

    // Decode: few queries, many keys.
    {"decode_fp32", "q_len=1 kv_len=2000 q_heads=4 kv_heads=2"},
    {"decode_bf16_gqa4",
     "dtype=bf16 batch=2 q_len=1 kv_len=3000 q_heads=8 kv_heads=2 head_dim=128"},
    {"decode_paged_gqa8",
     "dtype=bf16 batch=2 q_len=1 kv_lens=1500,33 q_heads=8 kv_heads=1 head_dim=128 page_size=16"},
    {"decode_window", "q_len=1 kv_len=3000 left=255 right=0"},
    {"decode_sinks", "q_len=1 kv_len=2000 q_heads=4 kv_heads=2 sinks=1"},
    {"speculative_5", "dtype=bf16 q_len=5 kv_len=1500 q_heads=4 kv_heads=2 mask=causal"},

    // The mask.
    {"causal", "q_len=100 kv_len=100 mask=causal"},
    {"causal_rectangle", "q_len=30 kv_len=300 mask=causal"},
    {"band_self", "q_len=70 kv_len=70 left=0 right=0"},
    {"band_window_16", "q_len=150 kv_len=150 left=15 right=0"},
    {"band_both_sides", "q_len=150 kv_len=150 left=20 right=7 dtype=bf16"},
    {"band_right_only", "q_len=70 kv_len=170 right=3"},
    {"band_left_only", "q_len=70 kv_len=170 left=40"},
    {"sink_tokens_4_window", "q_len=60 kv_len=400 left=30 right=0 sink_tokens=4"},
    {"sink_tokens_200_window", "q_len=60 kv_len=400 left=30 right=0 sink_tokens=200"},
    {"sink_tokens_full", "q_len=20 kv_len=40 sink_tokens=3"},

    // Scores.
    {"scale", "scale=0.3 q_len=40 kv_len=150"},
    {"scale_negative", "scale=-0.1 q_len=40 kv_len=150"},
    {"softcap_30", "softcap=30 q_len=40 kv_len=150 values=large"},
    {"softcap_2_bf16", "softcap=2 q_len=40 kv_len=150 dtype=bf16"},
    {"alibi_head", "alibi=head q_heads=4 q_len=40 kv_len=400 mask=causal"},
    {"alibi_batch", "alibi=batch batch=2 q_heads=4 kv_heads=2 q_len=40 kv_len=140"},
    {"bias_fp32", "bias=fp32 batch=2 q_heads=4 kv_heads=2 q_len=20 kv_len=140"},
    {"bias_fp16", "bias=fp16 batch=2 q_heads=2 q_len=20 kv_len=140 dtype=fp16"},
    {"bias_bf16", "bias=bf16 batch=2 q_heads=2 q_len=20 kv_len=140 dtype=bf16 mask=causal"},
    {"bias_keys_only", "bias=fp32 bias_dims= batch=2 q_heads=2 q_len=20 kv_len=140"},
    {"bias_heads", "bias=fp32 bias_dims=hq batch=2 q_heads=2 q_len=20 kv_len=140"},
    {"bias_padding_mask", "bias=bf16 bias_dims=b batch=3 q_len=20 kv_len=140 dtype=bf16"},
    {"sinks", "sinks=1 q_heads=6 kv_heads=2 q_len=20 kv_len=140 mask=causal"},
    {"dropout_10", "dropout=0.1 q_heads=2 q_len=40 kv_len=150"},
    {"dropout_50_bf16", "dropout=0.5 batch=2 q_heads=2 q_len=40 kv_len=150 dtype=bf16 mask=causal"},
    {"dropout_positions", "dropout=0.25 positions=1 seed=3 q_heads=2 q_len=40 kv_len=150"},
    {"all_scores",
     "softcap=20 alibi=head bias=fp32 sinks=1 dropout=0.1 scale=0.2 q_heads=4 kv_heads=2 "
     "q_len=33 kv_len=400 mask=causal"},

    // Where keys are.
    {"ragged",
     "q=ragged kv=ragged q_lens=3,70,1 kv_lens=10,70,300 q_heads=4 kv_heads=2 mask=causal"},
    {"ragged_bhsd", "q=ragged kv=ragged order=bhsd q_lens=3,70,1 kv_lens=10,70,300 q_heads=2"},
    {"ragged_padded",
     "q=ragged kv=ragged order=padded q_lens=3,7 kv_lens=10,70 dtype=bf16 q_heads=2"},
    {"ragged_q_dense_kv", "q=ragged batch=2 q_lens=3,17 kv_len=90 kv_lens=90,50"},
    {"ragged_q_paged",
     "q=ragged page_size=32 q_lens=3,40,1 kv_lens=100,40,333 mask=causal dtype=bf16"},
    {"paged_page_head_dim_16", "page_size=16 batch=2 kv_lens=150,33 q_len=9 q_heads=4 kv_heads=2"},
    {"paged_head_page_dim_16",
     "page_size=16 layout=head_page_dim batch=2 kv_lens=150,33 q_len=9 q_heads=4 kv_heads=2"},
    {"paged_head_dim_page_16",
     "page_size=16 layout=head_dim_page batch=2 kv_lens=150,33 q_len=9 q_heads=4 kv_heads=2"},
    {"paged_x_packed_16",
     "page_size=16 layout=x_packed batch=2 kv_lens=150,33 q_len=9 q_heads=4 kv_heads=2"},
    {"paged_page_head_dim_1", "page_size=1 kv_len=150 q_len=9 dtype=bf16"},
    {"paged_head_page_dim_2", "page_size=2 layout=head_page_dim kv_len=150 q_len=9 dtype=fp16"},
    {"paged_head_dim_page_1", "page_size=1 layout=head_dim_page kv_len=150 q_len=9 dtype=bf16"},
    {"paged_x_packed_4", "page_size=4 layout=x_packed kv_len=150 q_len=9 dtype=fp16"},
    {"paged_page_head_dim_256", "page_size=256 kv_len=600 q_len=9 mask=causal dtype=bf16"},
    {"paged_head_page_dim_64", "page_size=64 layout=head_page_dim kv_len=600 q_len=9 mask=causal"},
    {"paged_head_dim_page_128",
     "page_size=128 layout=head_dim_page kv_len=600 q_len=9 mask=causal"},
    {"paged_x_packed_256", "page_size=256 layout=x_packed kv_len=600 q_len=9 dtype=bf16"},
    {"paged_padded", "page_size=8 order=padded kv_len=100 q_len=9 q_heads=2 dtype=bf16"},
    {"lengths", "batch=3 q_len=40 kv_len=140 q_lens=40,0,13 kv_lens=140,20,1 mask=causal"},
    {"cache_row", "cache_row=1 batch=4 q_len=5 kv_len=140 kv_lens=140,20,1,77 q_heads=2"},
    {"left_pad", "left_pad=1 batch=4 q_len=5 kv_len=140 kv_lens=140,20,1,77 q_heads=2 mask=causal"},
    {"left_pad_cache_row", "left_pad=1 cache_row=1 batch=3 q_len=5 kv_lens=140,20,77 dtype=bf16"},
    {"positions", "positions=1 batch=4 q_len=30 kv_len=140 mask=causal seed=2"},
    {"positions_far", "positions=1 batch=4 q_len=30 kv_len=140 left=50 right=3 alibi=head seed=5"},
    {"order_bhsd", "order=bhsd batch=2 q_heads=4 kv_heads=2 q_len=20 kv_len=140"},
    {"order_padded", "order=padded batch=2 q_heads=4 kv_heads=2 q_len=20 kv_len=140"},
    {"order_padded_bf16",
     "order=padded batch=2 q_heads=2 q_len=20 kv_len=140 dtype=bf16 head_dim=40"},

    // Values.
    {"values_offset", "values=offset q_len=40 kv_len=400"},
    {"values_outliers", "values=outliers q_len=40 kv_len=400 dtype=bf16"},
    {"values_large", "values=large q_len=40 kv_len=400 mask=causal"},
    {"values_nan", "values=nan q_heads=4 kv_heads=2 q_len=40 kv_len=400 left=30 right=0 seed=2"},
    {"values_inf", "values=inf q_heads=4 kv_heads=4 q_len=40 kv_len=400 mask=causal seed=3"},
    {"values_nan_paged",
     "values=nan page_size=16 q_heads=4 q_len=3 kv_lens=100,333 dtype=bf16 left=9"},
};

const char* const kGradients[] = {
    "q_len=1 kv_len=1",
    "q_len=50 kv_len=129 head_dim=8",
    "q_len=200 kv_len=300 mask=causal",
    "q_len=129 kv_len=77 mask=causal q_heads=6 kv_heads=2 head_dim=72 value_dim=40",
    "q_len=90 kv_len=300 left=20 right=3 sink_tokens=5",
    "q_len=70 kv_len=70 head_dim=256",
    "q_len=33 kv_len=40 head_dim=512",
    "q_len=60 kv_len=150 scale=-0.3",
    "q_len=60 kv_len=150 softcap=3",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 alibi=head",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 alibi=batch positions=1 "
    "mask=causal",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=fp32",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=fp16 bias_dims=hq",
    "batch=2 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=bf16 bias_dims=bq",
    "batch=3 q_len=40 kv_len=150 q_heads=4 kv_heads=2 head_dim=24 bias=fp32 bias_dims=",
    "batch=2 q_len=60 kv_len=150 q_heads=2 head_dim=24 sinks=1 mask=causal",
    "batch=2 q_len=60 kv_len=150 q_heads=2 head_dim=24 dropout=0.3",
    "q=ragged kv=ragged q_lens=60,0,17 kv_lens=90,13,0 q_heads=2 mask=causal",
    "batch=3 q_len=40 kv_lens=100,30,0 cache_row=1 left_pad=1 order=padded",
    "q_lens=40,3 kv_len=60 mask=causal order=bhsd",
    // tanh near 1, whose last digit is most of 1 - tanh^2.
    "q_len=15 kv_lens=8,19,0,24 kv_len=51 q_heads=9 kv_heads=3 head_dim=40 softcap=2 dropout=0.9 "
    "values=outliers seed=95742",
    // Exponents S - lse that are exact, which a kernel's, in base 2, are not.
    "batch=3 q_len=1 kv_len=145 head_dim=16 left=2 right=94 sink_tokens=4 softcap=2 sinks=1 "
    "dropout=0.1 values=outliers seed=69124",
    // Two rounds: 240 rows in tiles of 192, and 1024 keys a segment.
    "q_len=120 kv_len=2100 mask=causal q_heads=2 kv_heads=1 head_dim=16",
    // Heads that share d_bias take turns.
    "q_len=40 kv_len=300 head_dim=24 bias=fp32 bias_dims= q_heads=4 kv_heads=2 softcap=5 sinks=1 "
    "dropout=0.2 alibi=head",
};

}  // namespace

std::span<const NamedCase> named_cases() { return kCases; }

std::span<const char* const> gradient_cases() { return kGradients; }

Case case_of(const std::string& text) {
  Case c;
  const std::string wrong = parse_case(text, c);
  if (!wrong.empty()) throw std::invalid_argument(wrong);
  return c;
}

}  // namespace rapt::kit
