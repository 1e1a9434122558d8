/* SPDX-License-Identifier: Apache-2.0 OR MIT
 * Serving in C: two sequences share a paged cache; each step appends one token's k and v with
 * rotary position embedding, rotates q alike, and attends over the pages. */
#include <math.h>
#include <rapt/rapt.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 2, Q_HEADS = 4, KV_HEADS = 2, DIM = 64, PAGE_SIZE = 16, PAGES = 8, STEPS = 40 };

static float k_cache[PAGES * PAGE_SIZE * KV_HEADS * DIM];
static float v_cache[PAGES * PAGE_SIZE * KV_HEADS * DIM];
static float cos_table[STEPS * DIM / 2], sin_table[STEPS * DIM / 2];
static float q[BATCH * Q_HEADS * DIM], out[BATCH * Q_HEADS * DIM];
static float k[BATCH * KV_HEADS * DIM], v[BATCH * KV_HEADS * DIM];
/* Which pages each sequence uses, in order; their order in memory is free. */
static int32_t page_table[BATCH][4] = {{5, 0, 3, 7}, {2, 6, 1, 4}};

static void require(rapt_status status) {
  if (status == RAPT_OK) return;
  fprintf(stderr, "%s\n", rapt_error_message());
  exit(1);
}

static rapt_tensor packed(void* data, rapt_dtype dtype, int rank, const int64_t* shape) {
  return rapt_packed(data, dtype, rank, shape);
}

static void fill_rope_tables(void) {
  for (int position = 0; position < STEPS; ++position) {
    for (int i = 0; i < DIM / 2; ++i) {
      const double angle = position * pow(10000.0, -2.0 * i / (double)DIM);
      cos_table[position * DIM / 2 + i] = (float)cos(angle);
      sin_table[position * DIM / 2 + i] = (float)sin(angle);
    }
  }
}

/* What the model's projections would give for the tokens of this step. */
static void project(int step) {
  for (int i = 0; i < BATCH * Q_HEADS * DIM; ++i) q[i] = (float)((i * 7 + step * 3) % 11 - 5) / 8;
  for (int i = 0; i < BATCH * KV_HEADS * DIM; ++i) {
    k[i] = (float)((i * 5 + step * 2) % 13 - 6) / 8;
    v[i] = (float)(step + 1);
  }
}

static void append(int step) {
  int32_t positions[BATCH];
  int64_t slots[BATCH];
  for (int b = 0; b < BATCH; ++b) {
    positions[b] = step;
    slots[b] = (int64_t)page_table[b][step / PAGE_SIZE] * PAGE_SIZE + step % PAGE_SIZE;
  }
  rapt_rope rope = {.struct_size = sizeof rope};
  rope.cos = packed(cos_table, RAPT_FP32, 2, (int64_t[]){STEPS, DIM / 2});
  rope.sin = packed(sin_table, RAPT_FP32, 2, (int64_t[]){STEPS, DIM / 2});
  rope.positions = packed(positions, RAPT_INT32, 1, (int64_t[]){BATCH});
  rope.rotary_dim = DIM;
  rapt_append_args args = {.struct_size = sizeof args};
  args.k = packed(k, RAPT_FP32, 3, (int64_t[]){BATCH, KV_HEADS, DIM});
  args.v = packed(v, RAPT_FP32, 3, (int64_t[]){BATCH, KV_HEADS, DIM});
  args.k_cache = packed(k_cache, RAPT_FP32, 4, (int64_t[]){PAGES, PAGE_SIZE, KV_HEADS, DIM});
  args.v_cache = packed(v_cache, RAPT_FP32, 4, (int64_t[]){PAGES, PAGE_SIZE, KV_HEADS, DIM});
  args.slots = packed(slots, RAPT_INT64, 1, (int64_t[]){BATCH});
  args.page_size = PAGE_SIZE;
  args.rope = &rope;
  args.q = packed(q, RAPT_FP32, 3, (int64_t[]){BATCH, Q_HEADS, DIM});
  args.q_out = args.q;
  require(rapt_append(&args, NULL));
}

static void attend(int step) {
  int32_t kv_len[BATCH] = {step + 1, step + 1};
  rapt_pages pages = {.struct_size = sizeof pages};
  pages.table = packed(page_table, RAPT_INT32, 2, (int64_t[]){BATCH, 4});
  pages.page_size = PAGE_SIZE;
  rapt_lengths lengths = {.struct_size = sizeof lengths};
  lengths.kv_len = packed(kv_len, RAPT_INT32, 1, (int64_t[]){BATCH});
  rapt_attention problem = {.struct_size = sizeof problem};
  problem.q = packed(q, RAPT_FP32, 4, (int64_t[]){BATCH, 1, Q_HEADS, DIM});
  problem.k = packed(k_cache, RAPT_FP32, 4, (int64_t[]){PAGES, PAGE_SIZE, KV_HEADS, DIM});
  problem.v = packed(v_cache, RAPT_FP32, 4, (int64_t[]){PAGES, PAGE_SIZE, KV_HEADS, DIM});
  problem.out = packed(out, RAPT_FP32, 4, (int64_t[]){BATCH, 1, Q_HEADS, DIM});
  problem.pages = &pages;
  problem.lengths = &lengths;
  require(rapt_attend(&problem, NULL));
}

int main(void) {
  fill_rope_tables();
  for (int step = 0; step < STEPS; ++step) {
    project(step);
    append(step);
    attend(step);
    /* A value is its token's number, so an output is a mean of the numbers seen so far. */
    if (!(out[0] >= 1 && out[0] <= (float)(step + 1) * 1.000001f)) return 1;
  }
  printf("%d tokens a sequence, last output %.3f\n", STEPS, out[0]);
  return 0;
}
