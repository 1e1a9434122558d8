// SPDX-License-Identifier: Apache-2.0 OR MIT
// Forward on tensor cores of sm_80 and newer (FlashAttention-2's loop): cp.async brings V of a
// block while its scores are multiplied and K of the next while they are exponentiated. Warps stand
// in warps_kv groups, each of which walks its own blocks; a CTA has one tile of query rows of one
// (sequence, kv head), so that the heads of a group share every key loaded.
#pragma once
#include "../kit/epilogue.cuh"
#include "../kit/features.cuh"
#include "../kit/fragment.cuh"
#include "../kit/tile_load.cuh"

namespace rapt::kernels {

template <ForwardConfig C>
struct PortableForward {
  using Layout = MmaLayout<C>;
  static constexpr int R = Layout::rows, K = Layout::keys, V = C.value_dim / 4;
  static constexpr int kGroupThreads = 32 * C.warps_q;
  static constexpr int kThreads = kGroupThreads * C.warps_kv;
  static constexpr int kQPitch = row_pitch(C.head_dim), kVPitch = row_pitch(C.value_dim);
  static constexpr int kQBytes = block_q(C) * kQPitch * 2;
  static constexpr int kKBytes = C.block_kv * kQPitch * 2, kVBytes = C.block_kv * kVPitch * 2;

  // What all threads agree on: in shared memory, since it would cost them 40 registers each.
  struct Common {
    Work work;
    Sequence sequence;
    KvSide<C> k, v;
  };

  const ForwardParams& p;
  const Sequence& s;
  const Work& work;
  const KvSide<C>&k, &v;
  u32 q_tile, k_tile, v_tile;  // shared memory
  int group, warp_q;           // of this warp

  float o[R][V];  // unnormalised

  static __device__ void run(const ForwardParams& p) {
    extern __shared__ __align__(128) unsigned char shared[];
    __shared__ Common common;
    if (threadIdx.x == 0) read_common(p, common);
    __syncthreads();
    const int first_row = common.work.tile * block_q(C);
    if (first_row >= common.sequence.q_rows * p.group) return;
    const int warp = threadIdx.x / 32, group = warp / C.warps_q;
    const u32 base = ptx::shared_address(shared);
    const u32 kv = base + kQBytes + group * (kKBytes + kVBytes);
    PortableForward self = {p,  common.sequence, common.work, common.k,        common.v, base,
                            kv, kv + kKBytes,    group,       warp % C.warps_q};
    self.attend(first_row, reinterpret_cast<float*>(shared));
  }

  static __device__ __forceinline__ void read_common(const ForwardParams& p, Common& common) {
    const Work work = find_work(p);
    const Sequence s = read_sequence(p, work.batch);
    common = {work, s, make_side<C>(p.k, p.k_pages, s, work.kv_head, p.head_dim),
              make_side<C>(p.v, p.v_pages, s, work.kv_head, p.value_dim)};
  }

  __device__ __forceinline__ void attend(int first_row, float* shared) {
    load_queries<C, kThreads>(p, s, work, first_row, q_tile);
    const KeyWalk walk = keys_of<C>(p, s, work, first_row);
    const int blocks = walk.blocks(C.block_kv);
    typename Features<C, Layout>::State rows;
    set_rows(rows, first_row);
    const Features<C, Layout> features = {p, s, rows};
    Softmax<Layout> softmax;
    const float exponent = C.natural ? kLog2E : p.scale * kLog2E;
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < V; ++c) o[r][c] = 0.0f;
    }
    if (group < blocks) load_k(walk.at(group, C.block_kv));
    ptx::cp_async_commit();
    ptx::cp_async_wait<0>();
    __syncthreads();  // the queries are everyone's
    for (int i = group; i < blocks; i += C.warps_kv) {
      const Range block = walk.at(i, C.block_kv);
      float x[R][K];
      load_v(block);
      ptx::cp_async_commit();
      multiply_keys(x);
      ptx::cp_async_wait<0>();
      sync_group();  // V has come; all are done with K
      if (i + C.warps_kv < blocks) load_k(walk.at(i + C.warps_kv, C.block_kv));
      ptx::cp_async_commit();
      features.scores(x, block, features.has_edge(block));
      float factor[R];
      softmax.step(x, exponent, factor);
      if constexpr (C.dropout) features.dropout(x, block);
      rescale(factor);
      multiply_values(x);
      ptx::cp_async_wait<0>();
      sync_group();  // K has come; all are done with V
    }
    softmax.finish();
    if constexpr (C.warps_kv > 1) {
      if (!merge_groups(softmax, exponent, shared)) return;
    }
    write(softmax, first_row);
  }

  __device__ __forceinline__ int local_row(int r) const {
    return warp_q * 16 * C.row_frags + Layout::row(r);
  }

  __device__ __forceinline__ void set_rows(typename Features<C, Layout>::State& rows,
                                           int first_row) const {
    const int last = s.q_len > 0 ? s.q_len * p.group - 1 : 0;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int row = first_row + local_row(r);
      rows.set(p, s, r, place_of(p, work.kv_head, row < last ? row : last));
    }
  }

  __device__ __forceinline__ void load_k(const Range& block) const {
    KvLoad<C, C.head_dim, kGroupThreads>::run(p, s, k, block, 0, k_tile,
                                              threadIdx.x % kGroupThreads);
  }

  __device__ __forceinline__ void load_v(const Range& block) const {
    KvLoad<C, C.value_dim, kGroupThreads>::run(p, s, v, block, work.value_chunk * C.value_dim,
                                               v_tile, threadIdx.x % kGroupThreads);
  }

  __device__ __forceinline__ void sync_group() const {
    if constexpr (C.warps_q == 1) {
      __syncwarp();
    } else if constexpr (C.warps_kv == 1) {
      __syncthreads();
    } else {
      ptx::bar_sync(1 + group, kGroupThreads);
    }
  }

  // x = Q K^T.
  __device__ __forceinline__ void multiply_keys(float (&x)[R][K]) const {
    const int lane = threadIdx.x & 31;
    const LaneRow<kQPitch> q(q_tile, warp_q * 16 * C.row_frags + lane % 16, lane / 16);
    const LaneRow<kQPitch> k(k_tile, lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
    for (int d = 0; d < C.head_dim / 16; ++d) {
      u32 a[C.row_frags][4];
#pragma unroll
      for (int f = 0; f < C.row_frags; ++f) ptx::ldmatrix_x4(a[f], q.address(d, 16 * f));
#pragma unroll
      for (int n = 0; n < C.block_kv / 16; ++n) {
        u32 b[4];
        ptx::ldmatrix_x4(b, k.address(d, 16 * n));
#pragma unroll
        for (int f = 0; f < C.row_frags; ++f) {
          multiply(x, f, 4 * n, a[f], b[0], b[1], d > 0);
          multiply(x, f, 4 * n + 2, a[f], b[2], b[3], d > 0);
        }
      }
    }
  }

  // o += P V.
  __device__ __forceinline__ void multiply_values(const float (&x)[R][K]) {
    const int lane = threadIdx.x & 31;
    const LaneRow<kVPitch> v(v_tile, lane % 16, lane / 16);
#pragma unroll
    for (int k = 0; k < C.block_kv / 16; ++k) {
      u32 a[C.row_frags][4];
#pragma unroll
      for (int f = 0; f < C.row_frags; ++f) {
        a[f][0] = pack2<C.element>(x[2 * f][4 * k], x[2 * f][4 * k + 1]);
        a[f][1] = pack2<C.element>(x[2 * f + 1][4 * k], x[2 * f + 1][4 * k + 1]);
        a[f][2] = pack2<C.element>(x[2 * f][4 * k + 2], x[2 * f][4 * k + 3]);
        a[f][3] = pack2<C.element>(x[2 * f + 1][4 * k + 2], x[2 * f + 1][4 * k + 3]);
      }
#pragma unroll
      for (int n = 0; n < C.value_dim / 16; ++n) {
        u32 b[4];
        ptx::ldmatrix_x4_trans(b, v.address(n, 16 * k));
#pragma unroll
        for (int f = 0; f < C.row_frags; ++f) {
          multiply(o, f, 4 * n, a[f], b[0], b[1], true);
          multiply(o, f, 4 * n + 2, a[f], b[2], b[3], true);
        }
      }
    }
  }

  // Eight columns of fragment f, on top of what they hold or, where not `adds`, of nothing.
  template <int N>
  static __device__ __forceinline__ void multiply(float (&x)[R][N], int f, int c, const u32 (&a)[4],
                                                  u32 b0, u32 b1, bool adds) {
    float(&top)[N] = x[2 * f], (&bottom)[N] = x[2 * f + 1];
    const float before[4] = {adds ? top[c] : 0.0f, adds ? top[c + 1] : 0.0f,
                             adds ? bottom[c] : 0.0f, adds ? bottom[c + 1] : 0.0f};
    float after[4];
    ptx::mma_m16n8k16<C.element>(after, a, b0, b1, before);
    top[c] = after[0];
    top[c + 1] = after[1];
    bottom[c] = after[2];
    bottom[c + 1] = after[3];
  }

  // Always: leaving it out where no maximum moved costs 8% at D64 and gains 3% at D128, since the
  // branch keeps the exponentials from mixing with the products.
  __device__ __forceinline__ void rescale(const float (&factor)[R]) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < V; ++c) o[r][c] *= factor[r];
    }
  }

  // Adds the other groups' sums to group 0's, in their order, through shared memory, each register
  // to its own place. True for group 0.
  __device__ __forceinline__ bool merge_groups(Softmax<Layout>& softmax, float exponent,
                                               float* shared) {
    constexpr int kValues = R * (V + 2);
    float* mine = shared + threadIdx.x % kGroupThreads;
    __syncthreads();  // the tiles are done with
    if (group > 0) {
      float* to = mine + (group - 1) * kValues * kGroupThreads;
#pragma unroll
      for (int r = 0; r < R; ++r) {
        to[r * (V + 2) * kGroupThreads] = softmax.reference[r];
        to[(r * (V + 2) + 1) * kGroupThreads] = softmax.sum[r];
#pragma unroll
        for (int c = 0; c < V; ++c) to[(r * (V + 2) + 2 + c) * kGroupThreads] = o[r][c];
      }
    }
    __syncthreads();
    if (group > 0) return false;
    for (int g = 0; g < C.warps_kv - 1; ++g) {
      add_group(softmax, exponent, mine + g * kValues * kGroupThreads);
    }
    return true;
  }

  __device__ __forceinline__ void add_group(Softmax<Layout>& softmax, float exponent,
                                            const float* from) {
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const float* row = from + r * (V + 2) * kGroupThreads;
      const float theirs = row[0], highest = fmaxf(softmax.reference[r], theirs);
      if (highest == -kInfinity) {
        softmax.sum[r] += row[kGroupThreads];  // NaN, or nothing
        continue;
      }
      const float top = highest * exponent;
      const float here = ptx::ex2(softmax.reference[r] * exponent - top);
      const float there = ptx::ex2(theirs * exponent - top);
      softmax.reference[r] = highest;
      softmax.sum[r] = softmax.sum[r] * here + row[kGroupThreads] * there;
#pragma unroll
      for (int c = 0; c < V; ++c) {
        o[r][c] = o[r][c] * here + row[(2 + c) * kGroupThreads] * there;
      }
    }
  }

  __device__ __forceinline__ void write(const Softmax<Layout>& softmax, int first_row) const {
    const RowStore<C, Layout> store = {p, s, work, (threadIdx.x & 3) == 0};
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int local = local_row(r);
      store.write(first_row + local, local, softmax.reference[r], softmax.sum[r], o[r]);
    }
  }
};

}  // namespace rapt::kernels
