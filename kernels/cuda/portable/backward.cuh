// SPDX-License-Identifier: Apache-2.0 OR MIT
// Backward (Dao, FlashAttention-2, 2023, algorithm 2): a CTA keeps the sums dK and dV of its block
// of keys while the tiles of rows that see it come by; what a tile gets for dQ goes to sums in
// global memory. Products (backward_mma.cuh, backward_fma.cuh) is how tiles are multiplied.
//     P = exp(S - lse)   dP = dO V^T   dS = P * (dP - rowsum(dO * O))
//     dV += P^T dO       dK += dS^T Q  dQ += dS K
#pragma once
#include "../kit/feature_gradients.cuh"
#include "../kit/kv_source.cuh"
#include "../kit/ptx.cuh"
#include "../kit/softmax.cuh"
#include "backward_walk.cuh"

namespace rapt::kernels {

template <BackwardConfig C, class Products>
struct Backward {
  static constexpr ForwardConfig F = Products::F;
  static constexpr int kThreads = Products::kThreads;
  using Layout = typename Products::Layout;
  using Gradients = FeatureGradients<F, Layout>;
  static constexpr int R = Layout::rows, K = Layout::keys;
  static constexpr bool kBiasPart = C.part == BackwardPart::bias;

  // What all threads agree on.
  struct Common {
    Sequence sequence;
    BlockWalk walk;
    SeenKeys seen;
    KvSide<F> k, v;
    i64 first_tile;
    int kv_head;
    int head;  // bias part: rows are tokens of this head
  };

  struct Shared {
    Common common;
    float slopes[C.slopes ? C.block_q : 1][Products::kColumnParts];
  };

  const BackwardParams& p;
  Shared& shared;
  const Common& at;
  const Sequence& s;
  RowStats* stats;  // shared memory, [stages][block_q]
  Products products;

  static __device__ void run(const BackwardParams& p) {
    extern __shared__ __align__(128) unsigned char tiles[];
    __shared__ Shared shared;
    auto* stats = reinterpret_cast<RowStats*>(tiles + Products::kBytes);
    Backward self = {p, shared, shared.common, shared.common.sequence, stats, Products(tiles)};
    if constexpr (kBiasPart) {
      self.bias();
    } else {
      self.keys();
    }
  }

  // ---- which rows and keys

  __device__ __forceinline__ void read_common(int batch, int kv_head, int head, int block) const {
    const ForwardParams& f = p.forward;
    const Sequence sequence = read_sequence(f, batch);
    shared.common = {sequence,
                     walk_of<C>(f, sequence, block, kBiasPart ? 1 : f.group),
                     seen_keys<C>(f, sequence),
                     make_side<F>(f.k, f.k_pages, sequence, kv_head, f.head_dim),
                     make_side<F>(f.v, f.v_pages, sequence, kv_head, f.value_dim),
                     first_tile(p, sequence, kv_head, C.block_q),
                     kv_head,
                     head};
  }

  // The next block of keys: in turn by ticket, so that whoever is waited for has begun.
  __device__ __forceinline__ void read_block() const {
    u32 rest = C.ordered ? ptx::count_one(p.ticket) : blockIdx.x;
    const u32 blocks = p.key_blocks, heads = p.forward.kv_heads;
    const u32 block = rest % blocks;
    rest /= blocks;
    read_common(rest / heads, rest % heads, 0, block);
  }

  __device__ __forceinline__ int rows() const {
    return kBiasPart ? s.q_len : s.q_len * p.forward.group;
  }

  __device__ __forceinline__ RowPlace place(int row) const {
    if constexpr (kBiasPart) return {row, at.head};
    return place_of(p, at.kv_head, row);
  }

  // ---- loading

  __device__ __forceinline__ void load_keys() {
    const auto row_of = [&](const KvSide<F>& side) {
      return [&](int local) {
        const int key = at.walk.keys.begin + local;
        return at.seen.has(key) ? side.row(p.forward, s, key) : nullptr;
      };
    };
    products.load_keys(p.forward, row_of(at.k), row_of(at.v));
  }

  __device__ __forceinline__ void load_rows(int first, int stage) {
    const auto row_of = [&](const RowsParam& rows_param, auto type) {
      using Bits = decltype(type);
      return [&, first](int local) {
        const int row = first + local;
        const auto* data = static_cast<const Bits*>(rows_param.data);
        return row < rows() ? data + offset_of(rows_param, s, place(row)) : nullptr;
      };
    };
    using In = typename Number<C.element>::Bits;
    using Out = typename Number<C.out_element>::Bits;
    products.load_rows(p.forward, stage, row_of(p.forward.q, In()), row_of(p.d_out, Out()));
    load_stats(first, stage);
  }

  // Rows of a tile lie beside each other but for those of one head.
  __device__ __forceinline__ void load_stats(int first, int stage) {
    const RowStats* from = p.stats + at.first_tile * C.block_q;
    RowStats* to = stats + stage * C.block_q;
    const int i = threadIdx.x;
    if constexpr (kBiasPart) {
      const int head = at.head - at.kv_head * p.forward.group;
      for (int row = i; row < C.block_q; row += kThreads) {
        const bool real = first + row < s.q_len;
        to[row] = real ? from[(first + row) * p.forward.group + head] : RowStats{kInfinity, 0.0f};
      }
    } else if constexpr (kHasCpAsync) {
      if (i < C.block_q / 2) {
        ptx::cp_async_16(ptx::shared_address(to + 2 * i), from + first + 2 * i, 16);
      }
    } else {
      for (int row = i; row < C.block_q; row += kThreads) to[row] = from[first + row];
    }
  }

  // ---- one tile against the block

  __device__ __forceinline__ void set_rows(typename Gradients::State& state, int first) const {
    const int last = rows() - 1;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int row = first + Products::local_row(r);
      state.set(p.forward, s, r, place(row < last ? row : last));
    }
  }

  // x and y become what P and dS are multiplied as; dS of the bias part is that of the scores.
  __device__ __forceinline__ void differentiate(int first, int stage, float (&x)[R][K],
                                                float (&y)[R][K]) {
    const Range& keys = at.walk.keys;
    const Range& whole = at.walk.whole;
    const bool edge = first < whole.begin * C.block_q || first >= whole.end * C.block_q;
    typename Gradients::State state;
    if (C.alibi || C.bias || C.dropout || edge) set_rows(state, first);
    const Gradients gradients = {{p.forward, s, state}};
    typename Gradients::CapSlopes cap_slopes;
    products.multiply_scores(x, stage);
    gradients.scores(x, cap_slopes, keys, edge);
    float delta[R];
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const RowStats row = stats[stage * C.block_q + Products::local_row(r)];
      delta[r] = row.delta;
#pragma unroll
      for (int c = 0; c < K; ++c) x[r][c] = probability(x[r][c], row.reference);
    }
    products.multiply_d_out(y, stage);
    gradients.softmax(x, y, delta, p.keep_factor, keys);
    if constexpr (kBiasPart) return;
    if constexpr (C.slopes) keep_slopes(gradients, y);
    gradients.cap(y, cap_slopes);
  }

  // Exact: the difference first, which FP32 rounds least.
  __device__ __forceinline__ float probability(float x, float reference) const {
    const float unit = C.natural ? 1.0f : p.forward.scale;
    if constexpr (Layout::exact) return ptx::ex2(fmaf(x, unit, -reference) * kLog2E);
    return ptx::ex2(fmaf(x, unit * kLog2E, -reference));
  }

  // Of the tile's rows, a part each of those who share a row.
  __device__ __forceinline__ void keep_slopes(const Gradients& gradients, const float (&y)[R][K]) {
    float sums[R] = {};
    gradients.slopes(y, at.walk.keys, sums);
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float sum = sum_over_lanes<Layout::lanes>(sums[r]);
      shared.slopes[Products::local_row(r)][Products::column_part()] = sum;
    }
  }

  // ---- dK, dV and the sums of dQ

  __device__ __forceinline__ void keys() {
    if (threadIdx.x == 0) read_block();
    __syncthreads();
    const BlockWalk& walk = at.walk;
    if (walk.keys.begin >= walk.keys.end) return;
    products.clear();
    load_keys();
    if (walk.tiles.begin < walk.tiles.end) load_rows((walk.tiles.end - 1) * C.block_q, 0);
    int stage = 0;
    for (int tile = walk.tiles.end - 1; tile >= walk.tiles.begin; --tile) {
      products.arrive();  // all are done with the tile before, too
      if (tile + 1 < walk.tiles.end) pass_turn(tile + 1);
      const bool more = tile > walk.tiles.begin;
      if (C.stages == 2 && more) load_rows((tile - 1) * C.block_q, stage ^ 1);
      if (products.multiplies()) {
        float x[R][K], y[R][K];
        differentiate(tile * C.block_q, stage, x, y);
        products.store_weights(x, y);
      }
      __syncthreads();
      products.add_keys(stage);
      add_queries(tile);
      if (C.stages == 1 && more) {
        __syncthreads();
        load_rows((tile - 1) * C.block_q, 0);
      }
      stage ^= C.stages - 1;
    }
    __syncthreads();
    if (walk.tiles.begin < walk.tiles.end) pass_turn(walk.tiles.begin);
    write_keys();
  }

  __device__ __forceinline__ Turn turn_of(int tile) const {
    const int token = token_of(p, tile * C.block_q);
    return {p.turns + at.first_tile + tile, u32(at.walk.template rank<C.block_kv>(token))};
  }

  __device__ __forceinline__ void pass_turn(int tile) const {
    if (C.ordered && threadIdx.x == 0) turn_of(tile).pass();
  }

  __device__ __forceinline__ void add_queries(int tile) {
    if (C.ordered && threadIdx.x == 0) turn_of(tile).wait();
    typename Products::QuerySums q;
    products.multiply_queries(q);
    if constexpr (C.ordered) __syncthreads();
    const i64 place = at.first_tile + tile;
    products.add_queries(q, p.dq_sums + place * C.block_q * C.head_dim);
    if constexpr (!C.slopes) return;
    for (int row = threadIdx.x; row < C.block_q; row += kThreads) {
      float sum = 0.0f;
      for (const float part : shared.slopes[row]) sum += part;
      ptx::add_to_global(p.slope_sums + place * C.block_q + row, sum);
    }
  }

  __device__ __forceinline__ void write_keys() const {
    const auto writer = [&](const RowsParam& to, int dim, float factor) {
      return [&, dim, factor](int local, int col, float a, float b) {
        const int key = at.walk.keys.begin + local;
        if (key >= at.walk.keys.end || col >= dim) return;
        const i64 row = s.kv_batch * to.batch_stride + (s.kv_token + key) * to.token_stride +
                        at.kv_head * to.head_stride;
        store_pair<C.element, C.aligned>(to, row + col, a * factor, b * factor);
      };
    };
    products.write_keys(writer(p.dk, p.forward.head_dim, p.forward.scale),
                        writer(p.dv, p.forward.value_dim, p.keep_factor));
  }

  // ---- d_bias

  // A CTA owns tokens x keys of d_bias and walks all (sequence, head, tile) that share them.
  __device__ __forceinline__ void bias() {
    const int blocks = (p.d_bias_shape[3] + C.block_kv - 1) / C.block_kv;
    const int tiles = (p.d_bias_shape[2] + C.block_q - 1) / C.block_q;
    u32 rest = blockIdx.x;
    const int block = rest % blocks;
    rest /= blocks;
    const int tile = rest % tiles;
    rest /= tiles;
    const int head = rest % u32(p.d_bias_shape[1]), batch = rest / u32(p.d_bias_shape[1]);
    const auto range = [](i64 stride, int one, int all) {
      return stride == 0 ? Range{0, all} : Range{one, one + 1};
    };
    const Range batches = range(p.d_bias_strides[0], batch, p.forward.batch);
    const Range heads = range(p.d_bias_strides[1], head, p.forward.q_heads);
    const Range row_tiles =
        range(p.d_bias_strides[2], tile, (p.forward.q_len + C.block_q - 1) / C.block_q);
    float sums[R][K] = {};
    for (int b = batches.begin; b < batches.end; ++b) {
      for (int h = heads.begin; h < heads.end; ++h) {
        __syncthreads();  // all are done with the tiles before
        if (threadIdx.x == 0) read_common(b, h / p.forward.group, h, block);
        __syncthreads();
        for (int t = row_tiles.begin; t < row_tiles.end; ++t) add_bias(t * C.block_q, sums);
      }
    }
    write_bias(batch, head, tile * C.block_q, block * C.block_kv, sums);
  }

  __device__ __forceinline__ void add_bias(int first, float (&sums)[R][K]) {
    if (first >= s.q_len || at.walk.keys.begin >= at.walk.keys.end) return;
    __syncthreads();
    load_keys();
    load_rows(first, 0);
    products.arrive();
    if (!products.multiplies()) return;
    float x[R][K], y[R][K];
    differentiate(first, 0, x, y);
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < K; ++c) sums[r][c] += y[r][c];
    }
  }

  // Where d_bias has one row for all, tokens are summed through the tiles' shared memory.
  __device__ __forceinline__ void write_bias(int batch, int head, int token, int key,
                                             float (&sums)[R][K]) {
    const i64* shape = p.d_bias_shape;
    const i64* stride = p.d_bias_strides;
    float* to = p.d_bias + batch * stride[0] + head * stride[1];
    float* tile = products.scratch();  // [block_q][block_kv]
    __syncthreads();
    if (products.multiplies()) {
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < K; ++c) {
          tile[Products::local_row(r) * C.block_kv + Layout::key(c)] = sums[r][c];
        }
      }
    }
    __syncthreads();
    const bool one = stride[2] == 0;
    for (int i = threadIdx.x; i < (one ? 1 : C.block_q) * C.block_kv; i += kThreads) {
      const int row = i / C.block_kv, col = i % C.block_kv;
      if (key + col >= shape[3] || token + row >= shape[2]) continue;
      float sum = tile[i];
      for (int other = 1; one && other < C.block_q; ++other) sum += tile[other * C.block_kv + col];
      to[(token + row) * stride[2] + (key + col) * stride[3]] = sum;
    }
  }
};

}  // namespace rapt::kernels
