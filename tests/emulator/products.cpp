// SPDX-License-Identifier: Apache-2.0 OR MIT
#include "products.h"

#include <cstring>
#include <memory>
#include <vector>

#include "backend/cpu/convert.h"

namespace rapt::emulator {
namespace {

constexpr int kDepth = 16;     // of a product
constexpr int kWarpRows = 16;  // of d, a warp's

u16 half_of(u32 word, int which) { return static_cast<u16>(word >> 16 * which); }

struct Matrices {
  u32* words[4];
  u32 row;
};

// Matrix m's row r is where lane 8m + r says; lane l holds two elements of row l / 4.
template <class Move>
void each_half(void* const* operands, Move move) {
  const auto of = [&](int lane) { return static_cast<Matrices*>(operands[lane]); };
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int m = 0; m < 4; ++m) {
      for (int i = 0; i < 2; ++i) move(*of(lane)->words[m], i, lane / 4, lane % 4 * 2 + i, m, of);
    }
  }
}

template <class Of>
u16* element(Of of, int m, int row, int column) {
  return static_cast<u16*>(shared(of(8 * m + row)->row, 16)) + column;
}

// .aligned
void need_whole_warp() {
  if (block_threads() % kLanes != 0) fail("a matrix instruction in a block of broken warps");
}

void put_half(u32& word, int which, u16 bits) {
  word = (word & ~(0xffffu << 16 * which)) | u32{bits} << 16 * which;
}

// A's element (row, column) of lane l: rows l / 4 + 8 (i % 2), columns 2 (l % 4) + 8 (i / 2).
using Tile = float[kWarpRows][kDepth];

void unpack_a(Half type, int lane, ConstWords a, Tile& tile) {
  for (int i = 0; i < 4; ++i) {
    const int row = lane / 4 + i % 2 * 8, column = lane % 4 * 2 + i / 2 * 8;
    for (int h = 0; h < 2; ++h) tile[row][column + h] = widen(type, half_of(*a[i], h));
  }
}

struct WarpProduct {
  Half type;
  float* d[4];
  const u32* a[4];
  const u32* b[2];
  const float* c[4];
};

void multiply_warp(void* const* operands) {
  Tile a;
  float b[kDepth][8];
  const auto of = [&](int lane) -> WarpProduct& {
    return *static_cast<WarpProduct*>(operands[lane]);
  };
  for (int lane = 0; lane < kLanes; ++lane) {
    unpack_a(of(lane).type, lane, of(lane).a, a);
    for (int i = 0; i < 2; ++i) {
      for (int h = 0; h < 2; ++h) {
        b[lane % 4 * 2 + i * 8 + h][lane / 4] = widen(of(lane).type, half_of(*of(lane).b[i], h));
      }
    }
  }
  float sums[kWarpRows][8];
  for (int row = 0; row < kWarpRows; ++row) {
    for (int column = 0; column < 8; ++column) {
      const int lane = row % 8 * 4 + column / 2, i = row / 8 * 2 + column % 2;
      sums[row][column] = *of(lane).c[i];
    }
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < 8; ++column) sums[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      *of(lane).d[i] = sums[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2];
    }
  }
}

// 9.7.16.5.1: a tile of 16-bit elements in the 128-byte swizzle.
struct Descriptor {
  u32 start, leading, stride;

  explicit Descriptor(u64 bits)
      : start(static_cast<u32>(bits & 0x3fff) << 4),
        leading(static_cast<u32>(bits >> 16 & 0x3fff) << 4),
        stride(static_cast<u32>(bits >> 32 & 0x3fff) << 4) {
    if (bits >> 62 != 1) fail("wgmma: a swizzle other than that of 128 bytes");
    if ((bits >> 49 & 7) != 0) fail("wgmma: a base offset");
  }

  // Element `along` of row `row`, where rows are what lies 128 bytes apart.
  [[nodiscard]] u16 at(u32 row, u32 along) const {
    u32 address = start + row / 8 * stride + row % 8 * 128 + along / 64 * leading + along % 64 * 2;
    address ^= (address >> 7 & 7) << 4;
    return *static_cast<u16*>(shared(address, 2));
  }
};

// What a warp multiplies, its operands copied where they are registers.
struct Pending {
  Half type;
  int n, warp;
  bool adds, a_shared;
  int a_turned, b_turned;
  u64 a_bits, b_bits;
  Tile a;
  std::vector<float*> d[kLanes];

  void run() {
    const Descriptor a_tile(a_shared ? a_bits : b_bits), b_tile(b_bits);
    if (a_shared) load_a(a_tile);
    std::vector<float> sums(static_cast<std::size_t>(kWarpRows) * n);
    if (adds) move_sums(sums, [](float& sum, float& old) { sum = old; });
    std::vector<float> b(static_cast<std::size_t>(n));
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < n; ++column) {
        const auto i = static_cast<u32>(k), j = static_cast<u32>(column);
        b[j] = widen(type, b_turned != 0 ? b_tile.at(i, j) : b_tile.at(j, i));
      }
      for (int row = 0; row < kWarpRows; ++row) {
        float* to = &sums[static_cast<std::size_t>(row) * n];
        for (int column = 0; column < n; ++column) to[column] += a[row][k] * b[column];
      }
    }
    move_sums(sums, [](float& sum, float& out) { out = sum; });
  }

 private:
  void load_a(const Descriptor& tile) {
    for (u32 row = 0; row < kWarpRows; ++row) {
      const u32 of_group = static_cast<u32>(warp) * kWarpRows + row;
      for (u32 k = 0; k < kDepth; ++k) {
        a[row][k] = widen(type, a_turned != 0 ? tile.at(k, of_group) : tile.at(of_group, k));
      }
    }
  }

  // Register i of a lane: column 8 (i / 4) + 2 (lane % 4) + i % 2, row lane / 4 + 8 (i / 2 % 2).
  template <class Move>
  void move_sums(std::vector<float>& sums, Move move) {
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i < n / 2; ++i) {
        const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
        move(sums[static_cast<std::size_t>(row) * n + column],
             *d[lane][static_cast<std::size_t>(i)]);
      }
    }
  }
};

void begin_product(void* const* operands) {
  const auto of = [&](int lane) -> const GroupProduct& {
    return *static_cast<const GroupProduct*>(operands[lane]);
  };
  const GroupProduct& first = of(0);
  auto pending = std::make_shared<Pending>();
  pending->type = first.type;
  pending->n = first.n;
  pending->warp = static_cast<int>(place().thread.x) / kLanes % 4;
  pending->adds = first.adds;
  pending->a_shared = first.a_registers == nullptr;
  pending->a_turned = first.a_turned;
  pending->b_turned = first.b_turned;
  pending->a_bits = first.a;
  pending->b_bits = first.b;
  for (int lane = 0; lane < kLanes; ++lane) {
    const GroupProduct& its = of(lane);
    if (its.a != first.a || its.b != first.b || its.adds != first.adds) {
      fail("wgmma: lanes differ in what must be the same");
    }
    pending->d[lane].assign(its.d, its.d + its.registers);
    if (!pending->a_shared) unpack_a(its.type, lane, its.a_registers, pending->a);
  }
  warp_products().add([pending] { pending->run(); });
}

}  // namespace

float widen(Half type, u16 bits) {
  return type == Half::bf16 ? cpu::bf16_to_float(bits) : cpu::fp16_to_float(bits);
}

u16 narrow(Half type, float value) {
  return type == Half::bf16 ? cpu::float_to_bf16(value) : cpu::float_to_fp16(value);
}

void load_matrices(Words to, u32 row, bool turned) {
  Matrices mine = {{to[0], to[1], to[2], to[3]}, row};
  const auto plain = [](void* const* operands) {
    each_half(operands, [](u32& word, int i, int r, int c, int m, auto of) {
      put_half(word, i, *element(of, m, r, c));
    });
  };
  const auto other = [](void* const* operands) {
    each_half(operands, [](u32& word, int i, int r, int c, int m, auto of) {
      put_half(word, i, *element(of, m, c, r));
    });
  };
  need_whole_warp();
  turned ? meet("ldmatrix.trans", &mine, other) : meet("ldmatrix", &mine, plain);
}

void store_matrices(u32 row, ConstWords from) {
  u32 words[4] = {*from[0], *from[1], *from[2], *from[3]};
  Matrices mine = {{&words[0], &words[1], &words[2], &words[3]}, row};
  need_whole_warp();
  meet("stmatrix", &mine, [](void* const* operands) {
    each_half(operands, [](u32& word, int i, int r, int c, int m, auto of) {
      *element(of, m, r, c) = half_of(word, i);
    });
  });
}

void multiply_16x8x16(Half type, float* const* d, ConstWords a, ConstWords b,
                      const float* const* c) {
  WarpProduct mine = {type,
                      {d[0], d[1], d[2], d[3]},
                      {a[0], a[1], a[2], a[3]},
                      {b[0], b[1]},
                      {c[0], c[1], c[2], c[3]}};
  need_whole_warp();
  meet("mma.sync", &mine, multiply_warp);
}

void multiply_64xN(const GroupProduct& product) {
  if (static_cast<std::size_t>(product.n) != 2 * product.registers) {
    fail("wgmma: registers for another N");
  }
  GroupProduct mine = product;
  need_whole_warp();
  meet("wgmma.mma_async", &mine, begin_product);
}

}  // namespace rapt::emulator
