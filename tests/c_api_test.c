/* SPDX-License-Identifier: Apache-2.0 OR MIT
 * rapt.h from a C11 file: structs by their size alone, attention planned and run, a cache written.
 * Returns the line of the first check that failed, 0 when none did; c_api_wrapper_test.cpp makes a
 * test of it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "rapt/rapt.h"

int rapt_c_api_test(void);

enum { kTokens = 3, kHeads = 2, kDim = 8, kElements = kTokens * kHeads * kDim };

typedef struct tensors {
  float q[kElements], k[kElements], v[kElements], out[kElements];
  float lse[kHeads * kTokens];
} tensors;

static rapt_tensor view(float* data) {
  return rapt_view(data, RAPT_FP32, RAPT_BSHD, 1, kTokens, kHeads, kDim);
}

/* Equal scores; key j holds j. */
static rapt_attention problem_over(tensors* t) {
  rapt_attention problem = {.struct_size = sizeof problem};
  const int64_t lse_shape[] = {1, kHeads, kTokens};
  for (int i = 0; i < kElements; ++i) {
    t->q[i] = t->k[i] = 0.5F;
    t->v[i] = (float)(i / (kHeads * kDim));
  }
  problem.q = view(t->q);
  problem.k = view(t->k);
  problem.v = view(t->v);
  problem.out = view(t->out);
  problem.lse = rapt_packed(t->lse, RAPT_FP32, 3, lse_shape);
  return problem;
}

static int near(float a, float b) { return fabsf(a - b) < 1e-5F; }

static int check_attend(void) {
  tensors t;
  rapt_attention problem = problem_over(&t);
  rapt_mask causal = {sizeof causal, RAPT_UNBOUNDED, 0, 0};
  problem.mask = &causal;
  if (rapt_attend(&problem, NULL) != RAPT_OK) return __LINE__;
  if (!near(t.out[0], 0) || !near(t.out[kElements - 1], 1)) return __LINE__;
  if (!near(t.lse[2], sqrtf(0.5F) + logf(3))) return __LINE__;
  causal.right = -1;
  if (rapt_attend(&problem, NULL) != RAPT_INVALID_ARGUMENT) return __LINE__;
  if (strcmp(rapt_error_message(), "mask.right: is -1; must be 0 or more, or RAPT_UNBOUNDED") !=
      0) {
    return __LINE__;
  }
  return 0;
}

static int run_plan(rapt_plan* plan, const rapt_attention* problem, void* workspace, size_t bytes) {
  const int64_t lengths[] = {kTokens};
  const rapt_step step = {sizeof step, 1, lengths, lengths};
  if (rapt_upload(plan, &step, workspace, bytes, NULL) != RAPT_OK) return __LINE__;
  if (rapt_run(plan, problem, workspace, bytes, NULL) != RAPT_OK) return __LINE__;
  return strncmp(rapt_plan_kernel(plan), "cpu/", 4) == 0 ? 0 : __LINE__;
}

static int check_plan(void) {
  tensors t;
  const rapt_attention problem = problem_over(&t);
  const rapt_bounds bounds = {.struct_size = sizeof bounds};
  rapt_plan* plan = NULL;
  if (rapt_plan_create(&problem, &bounds, NULL, &plan) != RAPT_OK) return __LINE__;
  const size_t bytes = rapt_plan_workspace_bytes(plan) / 64 * 64 + 64;
  void* workspace = aligned_alloc(64, bytes);
  const int failed = run_plan(plan, &problem, workspace, bytes);
  free(workspace);
  rapt_plan_free(plan);
  if (failed != 0) return failed;
  return near(t.out[0], 1) ? 0 : __LINE__;
}

static int check_cache(void) {
  float tokens[kElements], cache_k[4 * kHeads * kDim] = {0}, cache_v[4 * kHeads * kDim] = {0};
  int64_t slots[] = {3, -1, 0};
  const int64_t cache_shape[] = {2, 2, kHeads, kDim}, slots_shape[] = {3};
  for (int i = 0; i < kElements; ++i) tokens[i] = 1 + (float)(i / (kHeads * kDim));
  rapt_append_args args = {.struct_size = sizeof args};
  args.k = args.v = rapt_view(tokens, RAPT_FP32, RAPT_THD, 0, kTokens, kHeads, kDim);
  args.k_cache = rapt_packed(cache_k, RAPT_FP32, 4, cache_shape);
  args.v_cache = rapt_packed(cache_v, RAPT_FP32, 4, cache_shape);
  args.slots = rapt_packed(slots, RAPT_INT64, 1, slots_shape);
  args.page_size = 2;
  if (rapt_append(&args, NULL) != RAPT_OK) return __LINE__;
  if (!near(cache_k[3 * kHeads * kDim], 1) || !near(cache_v[0], 3)) return __LINE__;
  return near(cache_v[kHeads * kDim], 0) ? 0 : __LINE__;
}

static int check_questions(void) {
  size_t count = 0;
  rapt_device_info info = {.struct_size = sizeof info};
  if (rapt_devices(&info, 1, &count) != RAPT_OK || count < 1) return __LINE__;
  if (info.backend[0] == '\0' || info.detail[0] == '\0') return __LINE__;
  if (rapt_version() !=
      10000 * RAPT_VERSION_MAJOR + 100 * RAPT_VERSION_MINOR + RAPT_VERSION_PATCH) {
    return __LINE__;
  }
  return strcmp(rapt_dtype_name(RAPT_BF16), "bf16") == 0 ? 0 : __LINE__;
}

int rapt_c_api_test(void) {
  int failed = check_attend();
  if (failed == 0) failed = check_plan();
  if (failed == 0) failed = check_cache();
  if (failed == 0) failed = check_questions();
  return failed;
}
