// SPDX-License-Identifier: Apache-2.0 OR MIT
// The manual. The keys stand in the order of tests/kit/case.h; a test sees that none is missing.
#include "cli/manual.h"

namespace rapt::cli::manual {

std::string overview() {
  return R"(rapt: exact attention, softmax(scale * Q K^T + ...) V, on whatever this machine has.

The command line answers four questions: what is here (devices), what would run (explain), what
comes out (attend, check), and whether it is right and fast (verify, bench). And it compiles CUDA
kernels ahead (compile). Each command has its own manual: rapt COMMAND --help.)";
}

std::string closing() {
  return R"(Examples:
  rapt devices
  rapt explain --case "dtype=bf16 q_len=1024 head_dim=128 mask=causal"
  rapt attend --input qkv.safetensors --output out.safetensors mask=causal softcap=30
  rapt check --input qkv.safetensors
  rapt verify --count 1000 --seed 7
  rapt bench --suite cpu-peak --threads 1 --plot peak.svg
  RAPT_CACHE_DIR=kernels rapt compile --arch sm_80,sm_90a

)" + exit_codes() +
         R"(
Environment:
  RAPT_BACKEND    backend where no --backend is given: cpu, cuda
  RAPT_ISA        instruction set that the CPU backend uses: baseline, avx2, avx512, avx512_bf16
  RAPT_THREADS    threads where no --threads is given; default: the CPUs this process may use
  RAPT_CACHE_DIR  where compiled CUDA kernels are kept; default: ~/.cache/rapt
  RAPT_LOG, RAPT_CHECK    see docs/environment.md
)";
}

std::string exit_codes() {
  return R"(Exit codes:
  0  done                       4  unsupported: sensible, but no kernel takes it
  1  a check failed, or an      5  out of memory
     answer was wrong           6  device error
  2  usage: the command line    7  internal: a bug in rapt
  3  invalid argument: the problem or a file contradicts itself or a rule
)";
}

std::string grammar() {
  return R"(Problems are written as key=value words, in any order, each at most once. What is left
out has the default in brackets. The same line reproduces the same tensors anywhere.

  Sizes
    dtype=fp32|fp16|bf16|fp8_e4m3|fp8_e5m2    of q, k and v [fp32]
    out_dtype=...        of out [dtype]
    batch=N              sequences [1]
    q_len=N kv_len=N     queries and keys of the longest sequence [128, q_len]
    q_heads=N kv_heads=N heads; a multiple of kv_heads is GQA [1, q_heads]
    head_dim=N value_dim=N    multiples of 8 up to 512 [64, head_dim]
    direction=forward|backward [forward]
  Mask
    mask=full|causal|band     which keys a query sees [full]
    left=N|inf right=N|inf    the band: so many keys before and behind the query's position
                         [inf]; either implies mask=band
    sink_tokens=N        the first N keys stay visible whatever left says [0]
  Features
    scale=X              of q.k [0 = 1 / sqrt(head_dim)]
    softcap=X            scores become X tanh(score / X) [0 = off]
    alibi=none|head|batch     slopes a head, or a (batch, head) [none]
    bias=none|fp32|fp16|bf16  added to scores [none]
    bias_dims=bhq        letters of the bias's dimensions that are not broadcast: b, h, q;
                         empty: it depends on the key alone [bhq]
    sinks=0|1            a learned logit a head that joins the denominator [0]
    dropout=X            probability of dropping, 0 <= X < 0.998 [0]
    lse=0|1              also answer the log of the sum of exponentials [1]
  Memory
    q=dense|ragged       queries padded to q_len, or laid end to end [dense]
    kv=dense|ragged|paged     the same for keys and values, or pages of a cache [dense]
    page_size=N          a power of two up to 256; implies kv=paged [16 where paged]
    layout=page_head_dim|head_page_dim|head_dim_page|x_packed    of a page [page_head_dim]
    q_lens=3,0,5 kv_lens=...  used length of each sequence; imply batch and the longest
    cache_row=0|1        sequences live in shuffled rows of a larger dense cache [0]
    left_pad=0|1         keys begin behind padding [0]
    positions=0|1        queries and keys stand at unusual positions [0]
    order=bshd|bhsd|padded    order of the dimensions in memory; padded: gaps everywhere [bshd]
  Values
    values=normal|offset|outliers|large|nan|inf    what the tensors hold [normal]
    seed=N               of every random number [1]
)";
}

std::string file_grammar() {
  return R"(The file (safetensors) holds:
  q, k, v          F32, F16 or BF16; [batch, tokens, heads, dim], or [tokens, heads, dim]
  q_offsets, kv_offsets    optional, I32 [sequences + 1]: rank-3 q, k, v are several sequences
  bias             optional: added to scores, [batch or 1, heads or 1, queries or 1, keys]
  slopes           optional: ALiBi, F32 [heads] or [batch, heads]
  sinks            optional: learned logits that join the denominator, F32 [heads]
Other tensors are named in a note and not used. The file of --d-out holds
  d_out            as out: gradients of sum(out * d_out) are dq, dk, dv, and d_bias, d_slopes and
                   d_sinks where the feature is on

Keys, each as key=value:
  mask=full|causal|band     which keys a query sees [full]
  left=N|inf right=N|inf    the band, counted from the query's own position; implies mask=band
  sink_tokens=N    the first N keys stay visible whatever left says [0]
  scale=X          of q.k [1 / sqrt(head_dim)]
  softcap=X        scores become X tanh(score / X) [off]
  dropout=X seed=N probability of dropping, and its generator's seed [0, 1]
  out_dtype=fp32|fp16|bf16  of out [as q]
  lse=0|1          also answer the log of the sum of exponentials [1]
  dtype, batch, q_len, kv_len, q_heads, kv_heads, head_dim, value_dim
                   are the file's; where given, they must agree with it
The last query stands level with the last key.
)";
}

}  // namespace rapt::cli::manual
