// SPDX-License-Identifier: Apache-2.0 OR MIT
// Paged caches: their four layouts, and moving whole pages.
#include <algorithm>

#include "api/say.h"
#include "api/validate.h"

namespace rapt {
namespace {

constexpr std::int64_t kMostPageSize = 256;

Status read_page_head_dim(const Field& f, std::int64_t page_size, PagedTensor* out) {
  const rapt_tensor& t = *f.tensor;
  RAPT_RETURN_IF_ERROR(
      check_shape(f, {{"pages"}, {"page_size", page_size, "the call"}, {"kv_heads"}, {"dim"}}));
  *out = {{address(t), stride(t, 0), stride(t, 1), stride(t, 2), 1, 1},
          t.shape[0],
          t.shape[2],
          t.shape[3]};
  return {};
}

Status read_head_page_dim(const Field& f, std::int64_t page_size, PagedTensor* out) {
  const rapt_tensor& t = *f.tensor;
  RAPT_RETURN_IF_ERROR(
      check_shape(f, {{"pages"}, {"kv_heads"}, {"page_size", page_size, "the call"}, {"dim"}}));
  *out = {{address(t), stride(t, 0), stride(t, 2), stride(t, 1), 1, 1},
          t.shape[0],
          t.shape[1],
          t.shape[3]};
  return {};
}

Status read_head_dim_page(const Field& f, std::int64_t page_size, PagedTensor* out) {
  const rapt_tensor& t = *f.tensor;
  RAPT_RETURN_IF_ERROR(
      check_shape(f, {{"pages"}, {"kv_heads"}, {"dim"}, {"page_size", page_size, "the call"}}));
  *out = {{address(t), stride(t, 0), 1, stride(t, 1), stride(t, 2), 1},
          t.shape[0],
          t.shape[1],
          t.shape[2]};
  return {};
}

Status read_x_packed(const Field& f, std::int64_t page_size, PagedTensor* out) {
  const rapt_tensor& t = *f.tensor;
  const auto x = static_cast<std::int64_t>(16 / rapt_dtype_bytes(t.dtype));
  RAPT_RETURN_IF_ERROR(check_shape(f, {{"pages"},
                                       {"kv_heads"},
                                       {"dim / x"},
                                       {"page_size", page_size, "the call"},
                                       {"x", x, "a group of 16 bytes"}}));
  *out = {{address(t), stride(t, 0), stride(t, 3), stride(t, 1), stride(t, 2), x},
          t.shape[0],
          t.shape[1],
          t.shape[2] * x};
  return {};
}

Status read_paged(const Field& f, rapt_page_layout layout, std::int64_t page_size,
                  PagedTensor* out) {
  switch (layout) {
    case RAPT_PAGE_HEAD_DIM:
      return read_page_head_dim(f, page_size, out);
    case RAPT_HEAD_PAGE_DIM:
      return read_head_page_dim(f, page_size, out);
    case RAPT_HEAD_DIM_PAGE:
      return read_head_dim_page(f, page_size, out);
    default:
      return read_x_packed(f, page_size, out);
  }
}

// A cache or a list of pages lent by pointer.
Status check_lent(const Field& field) {
  if (field.tensor == nullptr) return invalid(say(field.name, ": is null"));
  RAPT_RETURN_IF_ERROR(check_given(field));
  return check_tensor(field, Data::required);
}

Status check_cache(const Field& cache) {
  RAPT_RETURN_IF_ERROR(check_lent(cache));
  if (cache.tensor->rank >= 2) return {};
  return invalid(say(cache.name, ": rank is 1; must be 2 or more, pages first"));
}

// One side of a job's moves, as `field` says it.
struct Moves {
  const char* field;
  const std::int64_t* first;
  std::int64_t count;
  std::int64_t stride;
};

Moves sources_of(const PageJob& job) { return {"pairs", job.sources, job.count, job.index_stride}; }
Moves targets_of(const PageJob& job, const char* field = "pairs") {
  return {field, job.targets, job.count, job.index_stride};
}

Status check_page_ids(const Moves& moves, const char* side, std::int64_t pages) {
  for (std::int64_t i = 0; i < moves.count; ++i) {
    const std::int64_t page = moves.first[i * moves.stride];
    if (page >= 0 && page < pages) continue;
    return invalid(
        say(moves.field, ": entry ", i, side, " is ", page, ", there are ", pages, " pages"));
  }
  return {};
}

// Page ids in order, so that a page named twice stands beside itself.
void sort_ids(const Moves& moves, std::vector<std::int64_t>* ids) {
  ids->reserve(static_cast<std::size_t>(moves.count));
  for (std::int64_t i = 0; i < moves.count; ++i) ids->push_back(moves.first[i * moves.stride]);
  std::sort(ids->begin(), ids->end());
}

Status check_written_once(const Moves& moves) {
  std::vector<std::int64_t> targets;
  sort_ids(moves, &targets);
  const auto twice = std::adjacent_find(targets.begin(), targets.end());
  if (twice == targets.end()) return {};
  return invalid(say(moves.field, ": page ", *twice, " is written twice"));
}

Status check_not_read(const Moves& sources, const Moves& targets) {
  std::vector<std::int64_t> written;
  sort_ids(targets, &written);
  for (std::int64_t i = 0; i < sources.count; ++i) {
    const std::int64_t page = sources.first[i * sources.stride];
    if (!std::binary_search(written.begin(), written.end(), page)) continue;
    return invalid(say(sources.field, ": page ", page, " is both read and written"));
  }
  return {};
}

// The shape of one page, and the job's other constants. The work is the device's where there is
// one.
void describe(const rapt_tensor& from, const rapt_tensor& to, PageJob* job) {
  *job = {};
  job->from_kind = static_cast<DeviceKind>(from.device_kind);
  job->to_kind = static_cast<DeviceKind>(to.device_kind);
  const rapt_tensor& device = to.device_kind == RAPT_CPU ? from : to;
  job->device_kind = static_cast<DeviceKind>(device.device_kind);
  job->device_index = device.device_index;
  job->dtype = static_cast<DType>(to.dtype);
  job->rank = to.rank - 1;
  for (std::int32_t d = 1; d < to.rank; ++d) {
    job->shape[d - 1] = to.shape[d];
    job->from_strides[d - 1] = stride(from, d);
    job->to_strides[d - 1] = stride(to, d);
  }
  job->to = address(to);
  job->from_page_stride = stride(from, 0);
  job->to_page_stride = stride(to, 0);
  job->from_pages = from.shape[0];
  job->to_pages = to.shape[0];
}

// [n, 2]: pages read and pages written.
Status read_pairs(const rapt_tensor& pairs, PageJob* job) {
  const Field field = {"pairs", &pairs};
  RAPT_RETURN_IF_ERROR(check_dtype(field, {RAPT_INT64}));
  RAPT_RETURN_IF_ERROR(check_shape(field, {{"n"}, {"2", 2, "a pair"}}));
  job->count = pairs.shape[0];
  job->index_stride = stride(pairs, 0);
  job->sources = static_cast<const std::int64_t*>(address(pairs));
  job->targets = job->sources + 1;
  job->index_kind = static_cast<DeviceKind>(pairs.device_kind);
  return {};
}

// All in one place; or one cache in host memory, and the pairs in either's.
Status check_swap_devices(const Field& from, const Field& to, const Field& pairs) {
  const bool from_host = from.tensor->device_kind == RAPT_CPU;
  const bool to_host = to.tensor->device_kind == RAPT_CPU;
  if (from_host == to_host) {
    const Field all[] = {from, to, pairs};
    return check_device(all);
  }
  if (pairs.tensor->device_kind == RAPT_CPU) return {};
  const Field beside[] = {from_host ? to : from, pairs};
  return check_device(beside);
}

Status check_same_pages(const rapt_tensor& from, const rapt_tensor& to) {
  rapt_tensor model = from;
  model.shape[0] = to.shape[0];  // the number of pages may differ
  return check_like({"to", &to}, {"from", &model});
}

}  // namespace

Status check_page_format(const char* layout_field, const char* size_field,
                         const PageFormat& format) {
  if (format.layout < RAPT_PAGE_HEAD_DIM || format.layout > RAPT_X_PACKED) {
    return invalid(say(layout_field, ": is ", format.layout, "; must be one of rapt_page_layout"));
  }
  const std::int64_t size = format.page_size;
  if (size >= 1 && size <= kMostPageSize && (size & (size - 1)) == 0) return {};
  return invalid(say(size_field, ": is ", size, "; must be a power of two, 1 to ", kMostPageSize));
}

Status read_paged_pair(const Field& k, const Field& v, const PageFormat& format, PagedTensor* k_out,
                       PagedTensor* v_out) {
  const bool packed = format.layout == RAPT_X_PACKED;
  const rapt_page_layout v_layout = packed ? RAPT_HEAD_DIM_PAGE : format.layout;
  RAPT_RETURN_IF_ERROR(read_paged(k, format.layout, format.page_size, k_out));
  RAPT_RETURN_IF_ERROR(read_paged(v, v_layout, format.page_size, v_out));
  if (v_out->pages != k_out->pages) {
    return invalid(say(v.name, ": pages is ", v_out->pages, ", ", k.name, " has ", k_out->pages));
  }
  if (v_out->heads != k_out->heads) {
    return invalid(
        say(v.name, ": kv_heads is ", v_out->heads, ", ", k.name, " has ", k_out->heads));
  }
  return {};
}

Status validate_copy(const rapt_tensor* cache, const rapt_tensor* pairs, PageJob* job) {
  const Field fields[] = {{"cache", cache}, {"pairs", pairs}};
  RAPT_RETURN_IF_ERROR(check_cache(fields[0]));
  RAPT_RETURN_IF_ERROR(check_lent(fields[1]));
  RAPT_RETURN_IF_ERROR(check_device(fields));
  RAPT_RETURN_IF_ERROR(check_output(fields[0]));
  RAPT_RETURN_IF_ERROR(check_apart(fields[0], fields));
  describe(*cache, *cache, job);
  job->from = address(*cache);
  RAPT_RETURN_IF_ERROR(read_pairs(*pairs, job));
  return job->index_kind == DeviceKind::cpu ? check_copied(*job) : Status{};
}

Status check_copied(const PageJob& job) {
  RAPT_RETURN_IF_ERROR(check_swapped(job));
  return check_not_read(sources_of(job), targets_of(job));
}

Status validate_swap(const rapt_tensor* from, const rapt_tensor* to, const rapt_tensor* pairs,
                     PageJob* job) {
  const Field fields[] = {{"from", from}, {"to", to}, {"pairs", pairs}};
  RAPT_RETURN_IF_ERROR(check_cache(fields[0]));
  RAPT_RETURN_IF_ERROR(check_cache(fields[1]));
  RAPT_RETURN_IF_ERROR(check_lent(fields[2]));
  RAPT_RETURN_IF_ERROR(check_swap_devices(fields[0], fields[1], fields[2]));
  RAPT_RETURN_IF_ERROR(check_same_pages(*from, *to));
  RAPT_RETURN_IF_ERROR(check_output(fields[1]));
  RAPT_RETURN_IF_ERROR(check_apart(fields[1], fields));
  describe(*from, *to, job);
  job->from = address(*from);
  RAPT_RETURN_IF_ERROR(read_pairs(*pairs, job));
  return job->index_kind == DeviceKind::cpu ? check_swapped(*job) : Status{};
}

Status check_swapped(const PageJob& job) {
  RAPT_RETURN_IF_ERROR(check_page_ids(sources_of(job), "[0]", job.from_pages));
  RAPT_RETURN_IF_ERROR(check_page_ids(targets_of(job), "[1]", job.to_pages));
  return check_written_once(targets_of(job));
}

Status validate_clear(const rapt_tensor* cache, const rapt_tensor* pages, PageJob* job) {
  const Field fields[] = {{"cache", cache}, {"pages", pages}};
  RAPT_RETURN_IF_ERROR(check_cache(fields[0]));
  RAPT_RETURN_IF_ERROR(check_lent(fields[1]));
  RAPT_RETURN_IF_ERROR(check_device(fields));
  RAPT_RETURN_IF_ERROR(check_output(fields[0]));
  RAPT_RETURN_IF_ERROR(check_apart(fields[0], fields));
  RAPT_RETURN_IF_ERROR(check_dtype(fields[1], {RAPT_INT64}));
  RAPT_RETURN_IF_ERROR(check_shape(fields[1], {{"n"}}));
  describe(*cache, *cache, job);
  job->count = pages->shape[0];
  job->index_stride = stride(*pages, 0);
  job->targets = static_cast<const std::int64_t*>(address(*pages));
  job->index_kind = static_cast<DeviceKind>(pages->device_kind);
  return job->index_kind == DeviceKind::cpu ? check_cleared(*job) : Status{};
}

Status check_cleared(const PageJob& job) {
  const Moves pages = targets_of(job, "pages");
  RAPT_RETURN_IF_ERROR(check_page_ids(pages, "", job.to_pages));
  return check_written_once(pages);
}

}  // namespace rapt
