// SPDX-License-Identifier: Apache-2.0 OR MIT
// The verbs of rapt.h as they are behind the C edge: they answer with a Status and may throw
// bad_alloc.
#pragma once
#include <cstddef>
#include <string>

#include "band.h"
#include "plan/schedule.h"
#include "problem.h"
#include "rapt/rapt.h"
#include "status.h"

namespace rapt {

// attend.cpp
Status attend(const rapt_attention* problem, const rapt_options* options);
Status attend_backward(const rapt_gradient* gradient, const rapt_options* options);
Status prepare(const rapt_attention* problem, const rapt_options* options);
Status explain(const rapt_attention* problem, const rapt_options* options, std::string* json);
Status explain_backward(const rapt_gradient* gradient, const rapt_options* options,
                        std::string* json);

// plan.cpp; `rapt_plan` is defined there.
Status plan_create(const rapt_attention* problem, const rapt_bounds* bounds,
                   const rapt_options* options, rapt_plan** plan);
void plan_free(rapt_plan* plan);
std::size_t plan_workspace_bytes(const rapt_plan* plan);
const char* plan_kernel(const rapt_plan* plan);
Status upload(rapt_plan* plan, const rapt_step* step, void* workspace, std::size_t workspace_bytes,
              const rapt_options* options);
Status run(const rapt_plan* plan, const rapt_attention* problem, void* workspace,
           std::size_t workspace_bytes, const rapt_options* options);

// compile.cpp
Status compile(const rapt_compile_args* args);

// cache.cpp
Status append(const rapt_append_args* args, const rapt_options* options);
Status copy_pages(const rapt_tensor* cache, const rapt_tensor* pairs, const rapt_options* options);
Status swap_pages(const rapt_tensor* from, const rapt_tensor* to, const rapt_tensor* pairs,
                  const rapt_options* options);
Status clear_pages(const rapt_tensor* cache, const rapt_tensor* pages, const rapt_options* options);

// merge.cpp
Status merge(const rapt_merge_args* args, const rapt_options* options);

// devices.cpp
Status devices(rapt_device_info* infos, std::size_t capacity, std::size_t* count);

// What the scheduler must know of a problem.
inline Heads heads_of(const Problem& p) { return {p.kv_heads, p.q_heads / p.kv_heads}; }
inline Band band_of(const Problem& p) { return {p.mask_left, p.mask_right, p.sink_tokens}; }

}  // namespace rapt
