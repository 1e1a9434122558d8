// SPDX-License-Identifier: Apache-2.0 OR MIT
// Forward in FP32 multiply-adds: FP32 inputs at full accuracy, and 16-bit inputs on GPUs older than
// sm_80. Sixteen threads share a query row; keys, values and probabilities pass through shared
// memory as FP32.
#pragma once
#include "../kit/epilogue.cuh"
#include "../kit/features.cuh"
#include "../kit/kv_source.cuh"

namespace rapt::kernels {

// 4 * row_frags rows a group of 16 threads; thread t of it has keys t, t + 16, ... and columns
// 4t .. 4t + 3 of every 64.
template <ForwardConfig C>
struct FmaLayout {
  static constexpr int rows = 4 * C.row_frags;
  static constexpr int keys = C.block_kv / 16;
  static constexpr int lanes = 16;
  static constexpr bool in_quads = false;
  static constexpr bool exact = C.element == Element::fp32;

  static __device__ __forceinline__ int key(int c) { return lane_key() + key_offset(c); }
  static __device__ __forceinline__ int lane_key() { return threadIdx.x & 15; }
  static constexpr int key_offset(int c) { return c * 16; }
  static __device__ __forceinline__ int col(int c) {
    return c / 4 * 64 + (threadIdx.x & 15) * 4 + (c & 3);
  }
};

template <ForwardConfig C>
struct FmaForward {
  using Layout = FmaLayout<C>;
  using N = Number<C.element>;
  static constexpr int R = Layout::rows, K = Layout::keys, V = C.value_dim / 16;
  static constexpr int kRows = block_q(C);  // 16 * row_frags * warps_q
  static constexpr int kThreads = kRows / R * 16;
  // Rows stand 16 bytes further apart than they are long: 16 threads read 16 rows without conflict.
  static constexpr int kKPitch = C.head_dim + 4, kPPitch = C.block_kv + 4;
  static constexpr int kQFloats = kRows * kKPitch, kKFloats = C.block_kv * kKPitch;
  static constexpr int kVFloats = C.block_kv * C.value_dim;

  struct Common {
    Work work;
    Sequence sequence;
    KvSide<C> k, v;
  };

  const ForwardParams& p;
  const Sequence& s;
  const Work& work;
  const KvSide<C>&k, &v;
  float *q_tile, *k_tile, *v_tile, *p_tile;  // shared memory

  float o[R][V];  // unnormalised

  static __device__ void run(const ForwardParams& p) {
    extern __shared__ __align__(128) float fma_shared[];
    __shared__ Common common;
    if (threadIdx.x == 0) {
      const Work work = find_work(p);
      const Sequence s = read_sequence(p, work.batch);
      common = {work, s, make_side<C>(p.k, p.k_pages, s, work.kv_head, p.head_dim),
                make_side<C>(p.v, p.v_pages, s, work.kv_head, p.value_dim)};
    }
    __syncthreads();
    const int first_row = common.work.tile * kRows;
    if (first_row >= common.sequence.q_rows * p.group) return;
    float* k_tile = fma_shared + kQFloats;
    FmaForward self = {p,        common.sequence,   common.work,
                       common.k, common.v,          fma_shared,
                       k_tile,   k_tile + kKFloats, k_tile + kKFloats + kVFloats};
    self.attend(first_row);
  }

  __device__ __forceinline__ void attend(int first_row) {
    load_queries(first_row);
    const KeyWalk walk = keys_of<C>(p, s, work, first_row);
    const int blocks = walk.blocks(C.block_kv);
    typename Features<C, Layout>::State rows;
    const int last = s.q_len > 0 ? s.q_len * p.group - 1 : 0;
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int row = first_row + local_row(r);
      rows.set(p, s, r, place_of(p, work.kv_head, row < last ? row : last));
    }
    const Features<C, Layout> features = {p, s, rows};
    Softmax<Layout> softmax;
    const float exponent = C.natural ? kLog2E : p.scale * kLog2E;
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < V; ++c) o[r][c] = 0.0f;
    }
    if (blocks > 0) load_k(walk.at(0, C.block_kv));
    arrive();
    for (int i = 0; i < blocks; ++i) {
      const Range block = walk.at(i, C.block_kv);
      float x[R][K], factor[R];
      load_v(block);
      multiply_keys(x);
      arrive();  // V has come; all are done with K
      if (i + 1 < blocks) load_k(walk.at(i + 1, C.block_kv));
      features.scores(x, block, features.has_edge(block));
      softmax.step(x, exponent, factor);
      if constexpr (C.dropout) features.dropout(x, block);
      store_probabilities(x);
      rescale(factor);
      __syncwarp();  // a row's probabilities stay within its warp
      multiply_values();
      arrive();  // K has come; all are done with V
    }
    softmax.finish();
    write(softmax, first_row);
  }

  __device__ __forceinline__ static int local_row(int r) { return threadIdx.x / 16 * R + r; }

  __device__ __forceinline__ void load_queries(int first) const {
    for (int i = threadIdx.x; i < kRows * C.head_dim; i += kThreads) {
      const int local = i / C.head_dim, d = i % C.head_dim, row = first + local;
      float x = 0.0f;
      if (row < s.q_len * p.group && d < p.head_dim) {
        const i64 at = offset_of(p.q, s, place_of(p, work.kv_head, row)) + d;
        x = N::widen(static_cast<const typename N::Bits*>(p.q.data)[at]);
      }
      q_tile[local * kKPitch + d] = x;
    }
  }

  __device__ __forceinline__ void load_k(const Range& block) const {
    load_side<C.head_dim, kKPitch>(k, block, 0, k_tile);
  }
  __device__ __forceinline__ void load_v(const Range& block) const {
    load_side<C.value_dim, C.value_dim>(v, block, work.value_chunk * C.value_dim, v_tile);
  }

  // FP32 rows that lie on 16 bytes are copied asynchronously; others go through registers.
  static constexpr bool kCopies =
      C.element == Element::fp32 && C.aligned && C.kv != KvKind::turned && kHasCpAsync;

  // Everyone's copies have come.
  static __device__ __forceinline__ void arrive() {
    if constexpr (kCopies) ptx::cp_async_wait_all();
    __syncthreads();
  }

  template <int columns, int pitch>
  __device__ __forceinline__ void load_side(const KvSide<C>& side, const Range& block,
                                            int first_column, float* to) const {
    if constexpr (kCopies) {
      copy_side<columns, pitch>(side, block, first_column, to);
    } else {
      gather_side<columns, pitch>(side, block, first_column, to);
    }
  }

  template <int columns, int pitch>
  __device__ __forceinline__ void copy_side(const KvSide<C>& side, const Range& block,
                                            int first_column, float* to) const {
    for (int i = threadIdx.x; i < C.block_kv * columns / 4; i += kThreads) {
      const int row = i / (columns / 4), d = i % (columns / 4) * 4, key = block.begin + row;
      const bool valid = key < block.end && first_column + d < side.dim;
      const auto* from = side.row(p, s, key < block.end ? key : block.begin) + first_column;
      ptx::cp_async_16(ptx::shared_address(to + row * pitch + d), from + (valid ? d : 0),
                       valid ? 16 : 0);
    }
  }

  // Neighbouring threads take what lies side by side: dimensions, or keys where they are turned.
  template <int columns, int pitch>
  __device__ __forceinline__ void gather_side(const KvSide<C>& side, const Range& block,
                                              int first_column, float* to) const {
    for (int i = threadIdx.x; i < C.block_kv * columns; i += kThreads) {
      const bool turned = C.kv == KvKind::turned;
      const int row = turned ? i % C.block_kv : i / columns;
      const int d = turned ? i / C.block_kv : i % columns;
      const int key = block.begin + row;
      float x = 0.0f;
      if (key < block.end && first_column + d < side.dim) {
        x = N::widen(side.element(side.row(p, s, key), first_column + d));
      }
      to[row * pitch + d] = x;
    }
  }

  static __device__ __forceinline__ float4 load4(const float* from) {
    return *reinterpret_cast<const float4*>(from);
  }

  // x = Q K^T, four dimensions a step.
  __device__ __forceinline__ void multiply_keys(float (&x)[R][K]) const {
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < K; ++c) x[r][c] = 0.0f;
    }
    const float* q = q_tile + local_row(0) * kKPitch;
    const float* keys = k_tile + (threadIdx.x & 15) * kKPitch;
#pragma unroll 4
    for (int d = 0; d < C.head_dim; d += 4) {
      float4 a[R], b[K];
#pragma unroll
      for (int r = 0; r < R; ++r) a[r] = load4(q + r * kKPitch + d);
#pragma unroll
      for (int c = 0; c < K; ++c) b[c] = load4(keys + c * 16 * kKPitch + d);
#pragma unroll
      for (int r = 0; r < R; ++r) {
#pragma unroll
        for (int c = 0; c < K; ++c) {
          x[r][c] = fmaf(a[r].x, b[c].x, x[r][c]);
          x[r][c] = fmaf(a[r].y, b[c].y, x[r][c]);
          x[r][c] = fmaf(a[r].z, b[c].z, x[r][c]);
          x[r][c] = fmaf(a[r].w, b[c].w, x[r][c]);
        }
      }
    }
  }

  __device__ __forceinline__ void store_probabilities(const float (&x)[R][K]) const {
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < K; ++c) p_tile[local_row(r) * kPPitch + Layout::key(c)] = x[r][c];
    }
  }

  // Rows whose maximum stands keep their sums; beyond the first blocks that is most of them.
  __device__ __forceinline__ void rescale(const float (&factor)[R]) {
    bool changed = false;
#pragma unroll
    for (int r = 0; r < R; ++r) changed |= factor[r] != 1.0f;
    if (!__any_sync(~0u, changed)) return;
#pragma unroll
    for (int r = 0; r < R; ++r) {
#pragma unroll
      for (int c = 0; c < V; ++c) o[r][c] *= factor[r];
    }
  }

  // o += P V, four keys a step.
  __device__ __forceinline__ void multiply_values() {
    const float* weights = p_tile + local_row(0) * kPPitch;
    const float* values = v_tile + (threadIdx.x & 15) * 4;
#pragma unroll 1
    for (int key = 0; key < C.block_kv; key += 4) {
      float4 a[R];
#pragma unroll
      for (int r = 0; r < R; ++r) a[r] = load4(weights + r * kPPitch + key);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
#pragma unroll
        for (int c = 0; c < V; c += 4) {
          const float4 b = load4(values + (key + j) * C.value_dim + c * 16);
#pragma unroll
          for (int r = 0; r < R; ++r) {
            const float weight = j == 0 ? a[r].x : j == 1 ? a[r].y : j == 2 ? a[r].z : a[r].w;
            o[r][c] = fmaf(weight, b.x, o[r][c]);
            o[r][c + 1] = fmaf(weight, b.y, o[r][c + 1]);
            o[r][c + 2] = fmaf(weight, b.z, o[r][c + 2]);
            o[r][c + 3] = fmaf(weight, b.w, o[r][c + 3]);
          }
        }
      }
    }
  }

  __device__ __forceinline__ void write(const Softmax<Layout>& softmax, int first_row) const {
    const RowStore<C, Layout> store = {p, s, work, (threadIdx.x & 15) == 0};
#pragma unroll
    for (int r = 0; r < R; ++r) {
      const int local = local_row(r);
      store.write(first_row + local, local, softmax.reference[r], softmax.sum[r], o[r]);
    }
  }
};

}  // namespace rapt::kernels
