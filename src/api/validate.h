// SPDX-License-Identifier: Apache-2.0 OR MIT
// The front door's checks: what a caller lends goes in, a normalised value comes out, or one
// sentence that names the field. These files are the only ones that say invalid_argument of a
// problem; nothing has been written when they do.
#pragma once
#include <cstdint>
#include <vector>

#include "api/validate_tensors.h"
#include "backend/backend.h"
#include "jobs.h"
#include "plan/schedule.h"
#include "problem.h"
#include "rapt/rapt.h"
#include "status.h"

namespace rapt {

// validate.cpp
Status validate(const rapt_attention* problem, Data data, Problem* out);
// The same of a call that was read, but what its outputs are to each other and to inputs in memory.
Status validate_call(const rapt_attention& problem, Data data, Problem* out);
Status check_outputs(const FieldList& outputs, const FieldList& others, Data data);
Status check_every(const FieldList& fields, Data data);
Rows dense_rows(const rapt_tensor& tensor);
Rows ragged_rows(const rapt_tensor& tensor);

// validate_gradient.cpp
// out and lse are inputs there.
Status validate_gradient(const rapt_gradient* gradient, Data data, Gradient* out);
// A cache row may serve one sequence only: two would add to the same gradient.
Status check_rows_apart(const Problem& forward, const std::vector<Sequence>& sequences);

// validate_groups.cpp: the feature groups of a problem whose sizes are known.
Status validate_groups(const rapt_attention& problem, Problem* out);

// validate_indices.cpp: reads every index of a problem in host memory, checks it and says where
// each sequence lives.
Status resolve_sequences(const Problem& problem, std::vector<Sequence>* sequences);

// validate_pages.cpp: one cache as [pages, page, heads, dim] in any of the four layouts.
struct PageFormat {
  rapt_page_layout layout = RAPT_PAGE_HEAD_DIM;
  std::int64_t page_size = 0;
};
struct PagedTensor {
  PagedRows rows;
  std::int64_t pages = 0;
  std::int64_t heads = 0;
  std::int64_t dim = 0;
};
Status check_page_format(const char* layout_field, const char* size_field,
                         const PageFormat& format);
Status read_paged_pair(const Field& k, const Field& v, const PageFormat& format, PagedTensor* k_out,
                       PagedTensor* v_out);
Status validate_copy(const rapt_tensor* cache, const rapt_tensor* pairs, PageJob* job);
Status validate_swap(const rapt_tensor* from, const rapt_tensor* to, const rapt_tensor* pairs,
                     PageJob* job);
Status validate_clear(const rapt_tensor* cache, const rapt_tensor* pages, PageJob* job);
// The page ids of each, where the host can read them.
Status check_copied(const PageJob& job);
Status check_swapped(const PageJob& job);
Status check_cleared(const PageJob& job);

// validate_append.cpp, validate_merge.cpp
Status validate_append(const rapt_append_args* args, AppendJob* job);
Status check_appended(const AppendJob& job);  // slots and positions that the host can read
Status validate_merge(const rapt_merge_args* args, MergeJob* job);

// validate_options.cpp
Status validate_options(const rapt_options* options, Target* target);
Status validate_bounds(const rapt_bounds* bounds, const Problem& problem, StepBounds* out);

// One index of a caller's vector.
std::int64_t read_index(const Indices& indices, std::int64_t i);
Indices indices_of(const rapt_tensor& tensor);

// head_dim and value_dim: a multiple of 8, 8 to 512.
Status check_dim(const Field& field, const char* name, std::int64_t dim);

}  // namespace rapt
