// SPDX-License-Identifier: Apache-2.0 OR MIT
// What a backward kernel is compiled for. Read by the host's compiler and by NVRTC.
#pragma once
#include "forward_config.h"

namespace rapt::kernels {

// What a launch computes.
enum class BackwardPart : int {
  keys = 0,  // dK, dV and the sums of dQ: a block of keys against all rows that see it
  bias = 1   // d_bias: one of its tiles, from everything that shares it
};

struct BackwardConfig {
  Element element = Element::bf16;      // of q, k, v and their gradients
  Element out_element = Element::bf16;  // of out and d_out
  BackwardPart part = BackwardPart::keys;
  int head_dim = 128;  // rounded up; the true one is a parameter
  int value_dim = 128;
  int block_q = 64;    // rows of a tile
  int block_kv = 128;  // keys of a block
  int stages = 2;      // tiles of rows in shared memory
  int warps_q = 2;     // mma, S and dP: warps along rows, and along keys
  int warps_kv = 4;
  int key_warps = 4;   // mma, dK and dV: warps along keys; the others share out the columns
  int row_warps = 2;   // mma, dQ: warps along rows
  int per_thread = 4;  // fma: rows, and keys, of a thread
  int aligned = 1;     // every row of every tensor begins on 16 bytes
  int natural = 0;     // as in ForwardConfig
  int band = 0;
  int softcap = 0;
  int alibi = 0;
  int bias = 0;
  int dropout = 0;
  int slopes = 0;   // d_slopes is wanted
  int ordered = 1;  // blocks of keys add to dQ in turn, else as they come

  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("element", &BackwardConfig::element);
    visit("out_element", &BackwardConfig::out_element);
    visit("part", &BackwardConfig::part);
    visit("head_dim", &BackwardConfig::head_dim);
    visit("value_dim", &BackwardConfig::value_dim);
    visit("block_q", &BackwardConfig::block_q);
    visit("block_kv", &BackwardConfig::block_kv);
    visit("stages", &BackwardConfig::stages);
    visit("warps_q", &BackwardConfig::warps_q);
    visit("warps_kv", &BackwardConfig::warps_kv);
    visit("key_warps", &BackwardConfig::key_warps);
    visit("row_warps", &BackwardConfig::row_warps);
    visit("per_thread", &BackwardConfig::per_thread);
    visit("aligned", &BackwardConfig::aligned);
    visit("natural", &BackwardConfig::natural);
    visit("band", &BackwardConfig::band);
    visit("softcap", &BackwardConfig::softcap);
    visit("alibi", &BackwardConfig::alibi);
    visit("bias", &BackwardConfig::bias);
    visit("dropout", &BackwardConfig::dropout);
    visit("slopes", &BackwardConfig::slopes);
    visit("ordered", &BackwardConfig::ordered);
  }
};

// The same features as the kit takes them, of fragments of `row_frags` x `keys` a warp.
constexpr ForwardConfig forward_config(const BackwardConfig& b, int row_frags, int keys) {
  ForwardConfig c;
  c.element = b.element;
  c.out_element = b.out_element;
  c.head_dim = b.head_dim;
  c.value_dim = b.value_dim;
  c.row_frags = row_frags;
  c.warps_q = b.warps_q;
  c.block_kv = keys;
  c.aligned = b.aligned;
  c.natural = b.natural;
  c.band = b.band;
  c.softcap = b.softcap;
  c.alibi = b.alibi;
  c.bias = b.bias;
  c.dropout = b.dropout;
  return c;
}

constexpr int kBackwardWarps = 8;  // of the kernel on tensor cores

// What comes before and behind: kernels that read or write every row once.
enum class RowsPart : int {
  prepare = 0,  // lse and rowsum(dO O) of every row; clears the sums
  clear = 1,    // dk and dv: those of keys that no sequence uses
  finish = 2,   // sums of dQ become dq
  heads = 3     // d_sinks and d_slopes
};

struct BackwardRowsConfig {
  Element element = Element::bf16;
  Element out_element = Element::bf16;
  RowsPart part = RowsPart::prepare;
  int head_dim = 128;
  int block_q = 64;
  int fragments = 1;  // sums lie as mma's accumulators, and rowsum(dO O) is made as dP is
  int exact = 0;      // lse in natural units, not in powers of two
  int aligned = 1;    // every row begins on 16 bytes

  template <typename Visit>
  static constexpr void members(Visit visit) {
    visit("element", &BackwardRowsConfig::element);
    visit("out_element", &BackwardRowsConfig::out_element);
    visit("part", &BackwardRowsConfig::part);
    visit("head_dim", &BackwardRowsConfig::head_dim);
    visit("block_q", &BackwardRowsConfig::block_q);
    visit("fragments", &BackwardRowsConfig::fragments);
    visit("exact", &BackwardRowsConfig::exact);
    visit("aligned", &BackwardRowsConfig::aligned);
  }
};

constexpr int kBackwardRowsThreads = 128;

// Where element (row, column) of a tile's sums of dQ is. As accumulators: the four that a lane has
// of a fragment beside each other, so that it adds 16 bytes at once.
constexpr int sum_place(bool fragments, int head_dim, int row, int col) {
  if (!fragments) return row * head_dim + col;
  const int fragment = row / 16 * (head_dim / 8) + col / 8;
  const int lane = row % 8 * 4 + col % 8 / 2;
  return (fragment * 32 + lane) * 4 + row % 16 / 8 * 2 + col % 2;
}

}  // namespace rapt::kernels
