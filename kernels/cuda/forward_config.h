// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a forward kernel is compiled for: what changes registers or instructions, and nothing else.
// Read by the host's compiler and by NVRTC; its bytes name the kernel in memory and on disk.
#pragma once
#include "element.h"

namespace rapt::kernels {

// How K and V are found (kit/kv_source.cuh).
enum class KvKind : int {
  rows = 0,    // dense or ragged: a token's row is contiguous, tokens are a stride apart
  pages = 1,   // a page table; rows contiguous
  turned = 2,  // a page table; the head dimension strided (head_dim_page, x_packed)
  slots = 3    // pages of so few rows that boxes do not pay: each row is found for itself
};

struct ForwardConfig {
  Element element = Element::bf16;      // of q, k and v
  Element out_element = Element::bf16;  // of out
  int head_dim = 128;                   // rounded up; the true one is a parameter
  int value_dim = 128;                  // columns that one block computes; rounded up
  int row_frags = 1;                    // portable: 16-row fragments a warp
  int warps_q = 4;                      // warps, or groups of threads, along query rows
  int warps_kv = 1;                     // groups of warps that take turns at blocks of keys
  int block_kv = 64;                    // keys of a block
  KvKind kv = KvKind::rows;
  int aligned = 1;  // every row of q, k, v and out begins on 16 bytes
  int natural = 0;  // scores are scaled before the exponential: a feature or the scale wants it
  int band = 0;     // a mask
  int softcap = 0;
  int alibi = 0;
  int bias = 0;   // 0 off, else 1 + Element
  int sinks = 0;  // learned
  int dropout = 0;
  int split = 0;  // writes partial rows, which the combine kernel merges

  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("element", &ForwardConfig::element);
    visit("out_element", &ForwardConfig::out_element);
    visit("head_dim", &ForwardConfig::head_dim);
    visit("value_dim", &ForwardConfig::value_dim);
    visit("row_frags", &ForwardConfig::row_frags);
    visit("warps_q", &ForwardConfig::warps_q);
    visit("warps_kv", &ForwardConfig::warps_kv);
    visit("block_kv", &ForwardConfig::block_kv);
    visit("kv", &ForwardConfig::kv);
    visit("aligned", &ForwardConfig::aligned);
    visit("natural", &ForwardConfig::natural);
    visit("band", &ForwardConfig::band);
    visit("softcap", &ForwardConfig::softcap);
    visit("alibi", &ForwardConfig::alibi);
    visit("bias", &ForwardConfig::bias);
    visit("sinks", &ForwardConfig::sinks);
    visit("dropout", &ForwardConfig::dropout);
    visit("split", &ForwardConfig::split);
  }
};

// Query rows of one block.
constexpr int block_q(const ForwardConfig& c) { return 16 * c.row_frags * c.warps_q; }

}  // namespace rapt::kernels
