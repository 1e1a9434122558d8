/* SPDX-License-Identifier: Apache-2.0 OR MIT
 *
 * rapt: exact attention, softmax(scale * Q K^T + ...) V, on whatever this machine has.
 *
 *     rapt_attention problem = {.struct_size = sizeof problem};
 *     problem.q = q; problem.k = k; problem.v = v; problem.out = out;
 *     rapt_mask causal = {sizeof causal, RAPT_UNBOUNDED, 0, 0};
 *     problem.mask = &causal;
 *     if (rapt_attend(&problem, NULL) != RAPT_OK) puts(rapt_error_message());
 *
 * This C11 header is the library's only binary interface; rapt.hpp is a C++20 face over it.
 *
 * Rules that hold everywhere:
 *  - Every struct begins with its own size; write `{.struct_size = sizeof x}` and every other field
 *    is zero, which is every field's default. A newer library accepts the smaller structs of older
 *    callers.
 *  - A feature is a group behind a pointer. Null means off; no flag beside it can disagree.
 *  - Shapes and strides are counted in elements, 64 bits wide. The innermost dimension of every
 *    tensor must be contiguous (stride 1); all other strides are free, negative ones excepted.
 *    Data is aligned to its element.
 *  - Nothing owns tensor memory, prints, exits or throws. Nothing is written unless the whole
 *    call was found valid.
 *  - Every verb may be called from any thread at any time. Calls that write the same memory, or
 *    that use the same rapt_plan, must not overlap in time.
 *  - A verb answers RAPT_OK or a code; then rapt_error_message() is one sentence that begins with
 *    the field at fault.
 *
 * The function computed, for query i and key j of one sequence and one query head:
 *
 *     s = scale * dot(q_i, k_j)
 *     s = cap * tanh(s / cap)                          where softcap is given
 *     s = s - slope * |query position - key position|  where alibi is given
 *     s = s + bias[i, j]                               where bias is given
 *     keys outside the mask's band take no part
 *     p = softmax over j of s (sinks join the denominator), then dropout
 *     out_i = sum over j of p_j * v_j ;  lse_i = ln(sum over j of exp(s_j))
 *
 * Products, sums, softmax and lse are computed in FP32 (Dao et al., FlashAttention-2, 2023: the
 * tiled online softmax; memory is O(length)). Scores are never stored as a whole. Results are
 * bitwise the same from run to run and for every number of threads.
 */
#ifndef RAPT_RAPT_H_
#define RAPT_RAPT_H_

#include <stddef.h>
#include <stdint.h>

#if defined(RAPT_STATIC)
#define RAPT_API
#elif defined(_WIN32)
#define RAPT_API __declspec(dllimport)
#else
#define RAPT_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------
 * Version and status
 * ------------------------------------------------------------------------------------------- */

#define RAPT_VERSION_MAJOR 0
#define RAPT_VERSION_MINOR 1
#define RAPT_VERSION_PATCH 0

/* The library's version, 10000 * major + 100 * minor + patch. Thread-safe; cannot fail. */
RAPT_API int32_t rapt_version(void);

typedef int32_t rapt_status;
enum {
  RAPT_OK = 0,
  RAPT_INVALID_ARGUMENT = 1, /* the call contradicts itself or a rule of this header */
  RAPT_UNSUPPORTED = 2,      /* sensible, but no kernel here takes it */
  RAPT_OUT_OF_MEMORY = 3,    /* scratch, workspace or device memory */
  RAPT_DEVICE_ERROR = 4,     /* a driver or device refused */
  RAPT_INTERNAL = 5          /* a bug in rapt */
};

/* The sentence of this thread's last call that did not answer RAPT_OK; "" before any. It begins
 * with the field at fault ("k: head_dim is 96, q has 128"). Valid until this thread's next such
 * call. */
RAPT_API const char* rapt_error_message(void);

/* "ok", "invalid_argument", ... ; "unknown" for any other number. Never null. */
RAPT_API const char* rapt_status_name(rapt_status status);

/* ---------------------------------------------------------------------------------------------
 * Tensors
 * ------------------------------------------------------------------------------------------- */

typedef int32_t rapt_dtype;
enum {
  RAPT_NONE = 0, /* no tensor: the default */
  RAPT_FP32 = 1,
  RAPT_FP16 = 2,
  RAPT_BF16 = 3,
  RAPT_FP8_E4M3 = 4, /* OCP FP8, finite-only */
  RAPT_FP8_E5M2 = 5, /* OCP FP8, IEEE-like */
  RAPT_INT8 = 6,
  RAPT_INT32 = 7,
  RAPT_UINT32 = 8,
  RAPT_INT64 = 9
};

/* Bytes an element takes; 0 for RAPT_NONE and unknown numbers. */
RAPT_API size_t rapt_dtype_bytes(rapt_dtype dtype);

/* "fp32", "bf16", ...; "none" for RAPT_NONE, "unknown" for any other number. Never null. */
RAPT_API const char* rapt_dtype_name(rapt_dtype dtype);

typedef int32_t rapt_device_kind;
enum { RAPT_CPU = 0, RAPT_CUDA = 1, RAPT_VULKAN = 2, RAPT_METAL = 3 };

#define RAPT_MAX_RANK 5

/* A strided view of memory that the caller owns. This struct is embedded by value in others, so
 * its layout is frozen: it never grows. A view whose dtype is RAPT_NONE is "not given". */
typedef struct rapt_tensor {
  size_t struct_size; /* sizeof(rapt_tensor) */
  void* data;         /* first element; may be null where the view has no elements */
  rapt_dtype dtype;
  int32_t rank;                   /* 1 .. RAPT_MAX_RANK */
  int64_t shape[RAPT_MAX_RANK];   /* elements a dimension; 0 is legal */
  int64_t strides[RAPT_MAX_RANK]; /* elements between neighbours; 0 repeats (inputs only) */
  rapt_device_kind device_kind;   /* where `data` lives; default the CPU */
  int32_t device_index;
} rapt_tensor;

/* A packed row-major view. `rank` > RAPT_MAX_RANK gives a view that every verb refuses. */
RAPT_API rapt_tensor rapt_packed(void* data, rapt_dtype dtype, int32_t rank, const int64_t* shape);

/* Memory layouts of a packed buffer seen as rapt's [batch, len, heads, dim] (BSHD, BHSD) or ragged
 * [tokens, heads, dim] (THD, HTD; `batch` is then ignored and `len` is the number of tokens). */
typedef int32_t rapt_order;
enum { RAPT_BSHD = 0, RAPT_BHSD = 1, RAPT_THD = 2, RAPT_HTD = 3 };
RAPT_API rapt_tensor rapt_view(void* data, rapt_dtype dtype, rapt_order order, int64_t batch,
                               int64_t len, int64_t heads, int64_t dim);

/* ---------------------------------------------------------------------------------------------
 * The feature groups. Each is off when its pointer in rapt_attention is null.
 * ------------------------------------------------------------------------------------------- */

/* No limit on that side of the band. */
#define RAPT_UNBOUNDED INT64_MAX

/* The band of keys a query sees: query position - left <= key position <= query position + right.
 * Positions are those of rapt_positions. A zeroed group is the query's own position alone.
 * Causal: {RAPT_UNBOUNDED, 0}. Sliding window of W keys with self: {W - 1, 0}. No group: every key.
 */
typedef struct rapt_mask {
  size_t struct_size;
  int64_t left;        /* >= 0 or RAPT_UNBOUNDED */
  int64_t right;       /* >= 0 or RAPT_UNBOUNDED */
  int64_t sink_tokens; /* >= 0: the sequence's first keys (by index) that stay visible whatever
                          `left` says; `right` still holds (Xiao et al., StreamingLLM, 2023) */
} rapt_mask;

/* s = cap * tanh(s / cap), after the scale and before everything that is added (Gemma 2). */
typedef struct rapt_softcap {
  size_t struct_size;
  float cap; /* finite, >= 0; 0 = off */
} rapt_softcap;

/* s -= slope * |query position - key position| (Press et al., ALiBi, 2021). */
typedef struct rapt_alibi {
  size_t struct_size;
  rapt_tensor slopes; /* FP32 [q_heads] or [batch, q_heads] */
} rapt_alibi;

/* s += bias[b, h, i, j], i and j counted within the sequence. -inf hides a key. */
typedef struct rapt_bias {
  size_t struct_size;
  rapt_tensor bias; /* FP32, FP16 or BF16 [batch or 1, q_heads or 1, q_len or 1, kv_len]; a
                       dimension of 1 or of stride 0 is broadcast. Ragged and paged calls: sizes
                       that cover the longest sequence */
} rapt_bias;

/* A learned logit a head that joins the softmax denominator only (gpt-oss). When partial results
 * are merged, exactly one part carries it. */
typedef struct rapt_sinks {
  size_t struct_size;
  rapt_tensor sinks; /* FP32 [q_heads]; -inf = none for that head */
} rapt_sinks;

/* Drops attention probabilities with Philox4x32-7 (Salmon et al., SC 2011): key = seed, counter =
 * low 32 bits of (floor(key position / 16), query position, batch * q_heads + head, offset). A call
 * serves 16 neighbouring keys, byte (key position mod 16) of its little-endian output each. A
 * probability is kept when its byte < n, n = round(256 * (1 - probability)), and scaled by 256 / n.
 * lse is that of the undropped softmax. Every backend drops the same elements. */
typedef struct rapt_dropout {
  size_t struct_size;
  float probability; /* of dropping: 0 <= probability < 1 - 1/512; 0 = keep everything */
  uint64_t seed;
  uint64_t offset; /* its low 32 bits count */
} rapt_dropout;

/* Factors that undo the quantisation of 8-bit inputs. For FP8 q/k/v and 8-bit caches only. */
typedef struct rapt_descale {
  size_t struct_size;
  rapt_tensor q; /* FP32 [batch, kv_heads]; not given = 1 */
  rapt_tensor k; /* FP32 [batch, kv_heads]; paged: [kv_heads] or [pages, kv_heads] */
  rapt_tensor v; /* as k */
} rapt_descale;

/* Sequences of different lengths laid end to end: q and out are [tokens, q_heads, dim], lse is
 * [q_heads, tokens]. Sequence b owns tokens offsets[b] .. offsets[b + 1] - 1. Offsets start at 0,
 * never decrease and end at the number of tokens. */
typedef struct rapt_ragged {
  size_t struct_size;
  rapt_tensor q_offsets;  /* INT32 or UINT32 [batch + 1] */
  rapt_tensor kv_offsets; /* INT32 or UINT32 [batch + 1]; then k, v are [tokens, kv_heads, dim]. Not
                             given: k and v are paged, or dense [batch, kv_len, kv_heads, dim] */
  int64_t max_q_len;      /* bounds that spare a device a look at the offsets; 0 = the totals */
  int64_t max_kv_len;
} rapt_ragged;

/* How one page of a paged cache is laid out. x = 16 bytes / bytes an element. */
typedef int32_t rapt_page_layout;
enum {
  RAPT_PAGE_HEAD_DIM = 0, /* [pages, page_size, kv_heads, dim] */
  RAPT_HEAD_PAGE_DIM = 1, /* [pages, kv_heads, page_size, dim] */
  RAPT_HEAD_DIM_PAGE = 2, /* [pages, kv_heads, dim, page_size] */
  RAPT_X_PACKED = 3       /* k [pages, kv_heads, dim / x, page_size, x], v as RAPT_HEAD_DIM_PAGE */
};

/* K and V live in pages (Kwon et al., PagedAttention, 2023). rapt_lengths.kv_len must be given.
 * Page ids that a sequence uses must be in [0, pages); entries behind its length are never read. */
typedef struct rapt_pages {
  size_t struct_size;
  rapt_tensor table; /* INT32 [batch, max_pages] */
  rapt_page_layout layout;
  int64_t page_size; /* a power of two, 1 .. 256; must agree with the shape of k and v */
} rapt_pages;

/* Used lengths of padded rows, and where in a dense cache a sequence lives. Each INT32 [batch]. */
typedef struct rapt_lengths {
  size_t struct_size;
  rapt_tensor q_len;     /* dense q: rows used; the others give out = 0 and lse = -inf */
  rapt_tensor kv_len;    /* dense and paged k, v: cache rows used */
  rapt_tensor cache_row; /* dense k, v: which row of their batch dimension serves sequence b */
  rapt_tensor left_pad;  /* dense k, v: rows skipped in front; key j is row left_pad + j, and the
                            sequence has kv_len - left_pad keys */
} rapt_lengths;

/* Query i stands at q_start + i, key j at kv_start + j. Defaults: q_start = kv_len - q_len and
 * kv_start = 0, so the last query stands level with the last key ("bottom-right"). INT32 or INT64
 * [batch], each within +-2^61. */
typedef struct rapt_positions {
  size_t struct_size;
  rapt_tensor q_start;
  rapt_tensor kv_start;
} rapt_positions;

/* ---------------------------------------------------------------------------------------------
 * The problem
 * ------------------------------------------------------------------------------------------- */

/* One attention problem. head_dim and value_dim are multiples of 8, 8 .. 512, and may differ;
 * q_heads is a multiple of kv_heads (MQA and GQA: query head h reads kv head h / (q_heads /
 * kv_heads)). q, k and v share one dtype: FP32, FP16 or BF16 (FP8: see rapt_descale). A query that
 * sees no key gives out = 0 and lse = -inf; zero lengths are legal. NaN and Inf in a key or value
 * that a query sees reach that query; what no query of a sequence sees reaches nothing. out and lse
 * may not overlap an input. */
typedef struct rapt_attention {
  size_t struct_size;
  rapt_tensor q;      /* [batch, q_len, q_heads, head_dim]; ragged [tokens, q_heads, head_dim] */
  rapt_tensor k;      /* [batch, kv_len, kv_heads, head_dim]; ragged, paged: see the groups */
  rapt_tensor v;      /* [batch, kv_len, kv_heads, value_dim]; likewise */
  rapt_tensor out;    /* [batch, q_len, q_heads, value_dim]; ragged likewise; q's dtype or FP32 */
  rapt_tensor lse;    /* optional: FP32 [batch, q_heads, q_len]; ragged [q_heads, tokens] */
  const float* scale; /* null: 1 / sqrt(head_dim); finite */
  const rapt_mask* mask;
  const rapt_softcap* softcap;
  const rapt_alibi* alibi;
  const rapt_bias* bias;
  const rapt_sinks* sinks;
  const rapt_dropout* dropout;
  const rapt_descale* descale;
  const rapt_ragged* ragged;
  const rapt_pages* pages;
  const rapt_lengths* lengths;
  const rapt_positions* positions;
} rapt_attention;

/* The backward of one problem. Forward's q, k, v, out and lse are inputs; gradients are outputs of
 * the shapes and dtypes of what they belong to. dk and dv are summed over the query heads of a
 * group. */
typedef struct rapt_gradient {
  size_t struct_size;
  const rapt_attention* forward; /* lse must be given */
  rapt_tensor d_out;             /* as out */
  rapt_tensor dq, dk, dv;        /* as q, k, v; all three required */
  rapt_tensor d_bias;            /* optional: FP32, bias's shape; summed where that is 1 */
  rapt_tensor d_sinks;           /* optional: FP32 [q_heads] */
  rapt_tensor d_slopes;          /* optional: FP32, the shape of alibi.slopes */
} rapt_gradient;

/* ---------------------------------------------------------------------------------------------
 * How to run
 * ------------------------------------------------------------------------------------------- */

/* Runs body(body_context, i) for every i in [0, count), in any order, on any threads, and returns
 * when all are done. */
typedef void (*rapt_parallel_for)(void* context, int64_t count,
                                  void (*body)(void* body_context, int64_t index),
                                  void* body_context);

/* Where and with what a verb runs. Null pointer or zeroed struct: the best kernel for the tensors'
 * device, the library's own threads. */
typedef struct rapt_options {
  size_t struct_size;
  const char* backend; /* "cpu", "cuda", ...; null or "auto": RAPT_BACKEND, else chosen by rapt */
  const char* kernel;  /* a name from rapt_explain, to force it; null: the first that takes it */
  void* stream;        /* CUstream; null: the default stream. Ignored by the CPU */
  int32_t threads; /* CPU: at most so many; 0: RAPT_THREADS, else the CPUs this process may use */
  rapt_parallel_for parallel_for; /* CPU: run on the caller's threads; null: on rapt's pool */
  void* parallel_context;         /* first argument of parallel_for */
} rapt_options;

/* out (and lse) of one problem, now. Allocates scratch as the kernel needs it. On a GPU the work is
 * queued on options.stream. Source of the method: FlashAttention-2 (Dao, 2023).
 * Errors: invalid_argument, unsupported, out_of_memory, device_error. */
RAPT_API rapt_status rapt_attend(const rapt_attention* problem, const rapt_options* options);

/* Gradients of one problem, recomputed from q, k, v, out and lse (Dao, FlashAttention-2, 2023).
 * Bitwise the same from run to run and for every number of threads; scratch is O(length). Takes
 * what rapt_attend takes on the CPU, but paged caches, and cache rows that serve two sequences.
 * Errors: invalid_argument, unsupported, out_of_memory, device_error. */
RAPT_API rapt_status rapt_attend_backward(const rapt_gradient* gradient,
                                          const rapt_options* options);

/* ---------------------------------------------------------------------------------------------
 * Plan, upload, run: divide the work once, reuse it for every layer, capture it in a CUDA graph
 * ------------------------------------------------------------------------------------------- */

typedef struct rapt_plan rapt_plan;

/* The largest step that a plan must serve. Zero takes the value from the problem's shapes. */
typedef struct rapt_bounds {
  size_t struct_size;
  int64_t batch;
  int64_t q_tokens; /* of the whole batch */
  int64_t q_len;    /* of one sequence */
  int64_t kv_len;   /* of one sequence */
} rapt_bounds;

/* One step's lengths, in host memory. Null arrays take the lengths from the problem's shapes. */
typedef struct rapt_step {
  size_t struct_size;
  int64_t batch;         /* 0: the plan's */
  const int64_t* q_len;  /* [batch] */
  const int64_t* kv_len; /* [batch]: keys a sequence has (left_pad already taken off) */
} rapt_step;

/* Pure host arithmetic: reads shapes, groups and bounds, never tensor data (data may be null).
 * Kernel, launch shape and workspace follow from the bounds alone. `problem` and its groups need
 * not outlive the call. On success *plan is the caller's, to be given back with rapt_plan_free. */
RAPT_API rapt_status rapt_plan_create(const rapt_attention* problem, const rapt_bounds* bounds,
                                      const rapt_options* options, rapt_plan** plan);
RAPT_API void rapt_plan_free(rapt_plan* plan); /* null is fine */

/* Bytes of workspace that upload and run want; 64-byte aligned memory of the tensors' device. */
RAPT_API size_t rapt_plan_workspace_bytes(const rapt_plan* plan);

/* The kernel chosen, "cpu/avx512_forward" say. Lives as long as the plan. */
RAPT_API const char* rapt_plan_kernel(const rapt_plan* plan);

/* Takes this step's lengths, loads what is missing, and makes one asynchronous copy into workspace.
 * Refuses lengths outside the plan's bounds. */
RAPT_API rapt_status rapt_upload(rapt_plan* plan, const rapt_step* step, void* workspace,
                                 size_t workspace_bytes, const rapt_options* options);

/* Launches only: no allocation, no copy, no synchronisation. Refuses a plan never uploaded, another
 * workspace than the uploaded one, and a problem whose shapes, dtypes, groups or lengths are not
 * those planned and uploaded. */
RAPT_API rapt_status rapt_run(const rapt_plan* plan, const rapt_attention* problem, void* workspace,
                              size_t workspace_bytes, const rapt_options* options);

/* Compiles and loads ahead what the problem needs (data may be null); on CUDA it begins to, and
 * returns. On the CPU there is nothing to compile: it answers what rapt_attend would say of the
 * shapes.
 *
 * Under capture (options.stream is being captured into a CUDA graph) no verb compiles or loads: a
 * kernel that is not in memory yet is refused as unsupported. Any call of the same shapes before
 * the capture, or rapt_upload, brings it there. */
RAPT_API rapt_status rapt_prepare(const rapt_attention* problem, const rapt_options* options);

/* Which kernels rapt_compile makes: those that usual models run, or every one there is. */
typedef int32_t rapt_preset;
enum { RAPT_PRESET_COMMON = 0, RAPT_PRESET_ALL = 1 };

/* One kernel that rapt_compile made or found in the cache. Its texts last until the callback
 * returns. */
typedef struct rapt_compiled {
  size_t struct_size;
  const char* kernel;   /* "cuda/stream" */
  const char* arch;     /* "sm_90a" */
  const char* config;   /* "kind=0 threads=256 loads=4" */
  int32_t registers;    /* a thread */
  int32_t spill_bytes;  /* a thread, stored and loaded for want of registers */
  int32_t shared_bytes; /* a block, static and dynamic */
  double compile_ms;    /* 0: the cache had it */
  int64_t index;        /* of this kernel, 0 .. count - 1 */
  int64_t count;        /* kernels of this call */
} rapt_compiled;

/* Called on the thread of rapt_compile, in an order that is the same from run to run. */
typedef void (*rapt_on_compiled)(void* context, const rapt_compiled* kernel);

typedef struct rapt_compile_args {
  size_t struct_size;
  const char* archs; /* CUDA architectures, "sm_80,sm_90a"; their GPUs need not be here */
  rapt_preset preset;
  rapt_on_compiled on_compiled; /* null: nobody is told */
  void* context;                /* first argument of on_compiled */
  const char* kernel;           /* only "cuda/combine", or "cuda/combine CONFIG"; null: all */
  int32_t list_only;            /* 1: tells of the kernels and compiles none */
} rapt_compile_args;

/* Fills the cache of compiled kernels (RAPT_CACHE_DIR) ahead of time, for containers and for
 * shipping: needs NVRTC, no GPU and no driver. The directory may then be read-only, and needs no
 * NVRTC where it is used. Stops at the first kernel that cannot be made or kept. Errors:
 * invalid_argument, also where the cache cannot be written; device_error where NVRTC is missing. */
RAPT_API rapt_status rapt_compile(const rapt_compile_args* args);

/* ---------------------------------------------------------------------------------------------
 * The paged cache
 * ------------------------------------------------------------------------------------------- */

/* Rotary position embedding (Su et al., RoFormer, 2021) of the first rotary_dim elements of each
 * head: half-split pairs (i, i + rotary_dim / 2), or interleaved pairs (2 i, 2 i + 1). */
typedef struct rapt_rope {
  size_t struct_size;
  rapt_tensor cos;       /* FP32 [positions, rotary_dim / 2] */
  rapt_tensor sin;       /* as cos */
  rapt_tensor positions; /* INT32 or INT64 [tokens], each in [0, positions) */
  int64_t rotary_dim;    /* even, 2 .. head_dim */
  int32_t interleaved;   /* 0: half-split */
} rapt_rope;

/* Writes new tokens into a paged cache. Slot s is row s mod page_size of page s / page_size; -1
 * skips the token. Two tokens may not name one slot. On a device every tensor is in its memory;
 * what a host would refuse of slots and positions is skipped or clamped there, or refused in the
 * same words where RAPT_CHECK is 1. */
typedef struct rapt_append_args {
  size_t struct_size;
  rapt_tensor k;       /* [tokens, kv_heads, head_dim], the cache's dtype */
  rapt_tensor v;       /* [tokens, kv_heads, value_dim] */
  rapt_tensor k_cache; /* as rapt_pages says */
  rapt_tensor v_cache;
  rapt_tensor slots; /* INT64 [tokens] */
  rapt_page_layout layout;
  int64_t page_size;
  const rapt_rope* rope; /* null: none; else applied to k on its way in, computed in FP32 */
  rapt_tensor q;         /* optional, with rope: [tokens, q_heads, head_dim], rotated into q_out */
  rapt_tensor q_out;     /* as q; may be q itself */
} rapt_append_args;
RAPT_API rapt_status rapt_append(const rapt_append_args* args, const rapt_options* options);

/* Within one cache, copies page pairs[i][0] onto page pairs[i][1], for all i as if at once: no page
 * may be written twice, nor both read and written. `cache` is K or V in any layout (pages
 * outermost); `pairs` is INT64 [n, 2], in the memory of the cache's device. There, moves between
 * pages that do not exist are skipped. */
RAPT_API rapt_status rapt_copy_pages(const rapt_tensor* cache, const rapt_tensor* pairs,
                                     const rapt_options* options);

/* From one cache into another of the same page shape and dtype (swap out to host memory, swap in):
 * page pairs[i][0] of `from` onto page pairs[i][1] of `to`. No page may be written twice. Between a
 * device and host memory, pairs are best in host memory: a device's are read back first, which
 * waits for the stream. Pinned host memory is copied in the order of the stream, and must last
 * until then. */
RAPT_API rapt_status rapt_swap_pages(const rapt_tensor* from, const rapt_tensor* to,
                                     const rapt_tensor* pairs, const rapt_options* options);

/* Fills pages with zeros. `pages` is INT64 [n], none of them twice. */
RAPT_API rapt_status rapt_clear_pages(const rapt_tensor* cache, const rapt_tensor* pages,
                                      const rapt_options* options);

/* ---------------------------------------------------------------------------------------------
 * Merging partial results
 * ------------------------------------------------------------------------------------------- */

/* Combines attention over disjoint sets of keys into attention over their union, by lse:
 * out = sum_p exp(lse_p - lse) out_p, lse = ln sum_p exp(lse_p). A part that saw no key has lse =
 * -inf. */
typedef struct rapt_merge_args {
  size_t struct_size;
  int64_t count;          /* >= 1 parts */
  const rapt_tensor* out; /* [count] tensors, as attention's out */
  const rapt_tensor* lse; /* [count] tensors, as attention's lse */
  rapt_tensor merged_out; /* as each out; FP32, FP16 or BF16; may be one of them */
  rapt_tensor merged_lse; /* optional; as each lse; may be one of them */
} rapt_merge_args;
RAPT_API rapt_status rapt_merge(const rapt_merge_args* args, const rapt_options* options);

/* ---------------------------------------------------------------------------------------------
 * Questions
 * ------------------------------------------------------------------------------------------- */

/* Which kernel would run, and why each other one would not, as JSON text:
 *     {"schema": 1, "chosen": "cpu/avx512_forward", "refused": [{"kernel": ..., "sentence": ...}]}
 * "chosen" is null, and the answer still RAPT_OK, when no kernel takes a valid problem. Tensor data
 * is not read and may be null. Writes at most `capacity` bytes with the closing zero; *needed (may
 * be null) is the full size. A short buffer answers invalid_argument. */
RAPT_API rapt_status rapt_explain(const rapt_attention* problem, const rapt_options* options,
                                  char* text, size_t capacity, size_t* needed);

/* The same of a backward. */
RAPT_API rapt_status rapt_explain_backward(const rapt_gradient* gradient,
                                           const rapt_options* options, char* text, size_t capacity,
                                           size_t* needed);

typedef struct rapt_device_info {
  size_t struct_size;
  char backend[16]; /* "cpu", "cuda" */
  int32_t index;
  int32_t available;    /* 0: see detail for the reason */
  char name[128];       /* "AMD EPYC ..." */
  char detail[256];     /* instruction sets; architecture, driver, NVRTC; or why not available */
  int64_t memory_bytes; /* total; 0 = unknown */
  int32_t workers;      /* CPUs this process may use, multiprocessors of a GPU */
} rapt_device_info;

/* Fills up to `capacity` entries (each struct_size set by the caller in the first; all alike) and
 * sets *count to the number there are. `devices` may be null to count. */
RAPT_API rapt_status rapt_devices(rapt_device_info* devices, size_t capacity, size_t* count);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* RAPT_RAPT_H_ */
