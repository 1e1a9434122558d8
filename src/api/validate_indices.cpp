// SPDX-License-Identifier: Apache-2.0 OR MIT
// Every index that the host can read: offsets, lengths, cache rows, padding, pages and positions.
// Each is read once, so that memory which changes under the call cannot pass the check and then
// differ; page ids alone are read again by the kernels, which clamp them.
#include <cstddef>
#include <cstring>

#include "api/say.h"
#include "api/validate.h"

namespace rapt {
namespace {

// Sums and differences of positions and lengths stay inside 64 bits.
constexpr std::int64_t kMostPosition = std::int64_t{1} << 61;

template <typename T>
std::int64_t read_as(const Indices& indices, std::int64_t i) {
  T value;
  const auto* data = static_cast<const std::byte*>(indices.data);
  std::memcpy(&value, data + i * indices.stride * static_cast<std::int64_t>(sizeof value),
              sizeof value);
  return value;
}

// One entry of a [batch] vector, within [0, most]; `absent` where the vector is not given.
struct Entry {
  const char* field;
  const Indices& indices;
  std::int64_t absent;
  std::int64_t most;
  const char* limit;
};

Status read_entry(const Entry& entry, std::int64_t b, std::int64_t* value) {
  *value = entry.absent;
  if (entry.indices.data == nullptr) return {};
  *value = read_index(entry.indices, b);
  if (*value >= 0 && *value <= entry.most) return {};
  const std::string found = say(entry.field, ": sequence ", b, " is ", *value);
  if (*value < 0) return invalid(found + "; must be 0 or more");
  return invalid(say(found, ", ", entry.limit, " ", entry.most));
}

// A ragged side, its offsets walked once.
struct Offsets {
  const char* field;
  const char* most_field;
  const Indices& indices;
  std::int64_t tokens;
  std::int64_t most;  // of one sequence
};

Status next_offset(const Offsets& o, std::int64_t b, std::int64_t begin, std::int64_t* end) {
  *end = read_index(o.indices, b + 1);
  if (*end < begin) {
    return invalid(say(o.field, ": decreases from ", begin, " to ", *end, " at ", b + 1));
  }
  if (*end > o.tokens) {
    return invalid(say(o.field, ": is ", *end, " at ", b + 1, ", there are ", o.tokens, " tokens"));
  }
  if (*end - begin > o.most) {
    return invalid(say(o.most_field, ": is ", o.most, ", sequence ", b, " has ", *end - begin));
  }
  return {};
}

// Calls put(sequence, first token, length) for every sequence.
template <typename Put>
Status walk_offsets(const Offsets& o, std::vector<Sequence>& sequences, Put put) {
  std::int64_t begin = read_index(o.indices, 0);
  if (begin != 0) return invalid(say(o.field, ": starts at ", begin, "; must start at 0"));
  for (Sequence& s : sequences) {
    std::int64_t end = 0;
    RAPT_RETURN_IF_ERROR(next_offset(o, s.index, begin, &end));
    put(s, begin, end - begin);
    begin = end;
  }
  if (begin == o.tokens) return {};
  return invalid(say(o.field, ": ends at ", begin, ", there are ", o.tokens, " tokens"));
}

Status resolve_queries(const Problem& p, std::vector<Sequence>& sequences) {
  if (p.q_offsets.data != nullptr) {
    const Offsets o = {"ragged.q_offsets", "ragged.max_q_len", p.q_offsets, p.q_tokens, p.q_len};
    return walk_offsets(o, sequences, [](Sequence& s, std::int64_t begin, std::int64_t length) {
      s.q_token = begin;
      s.q_len = s.q_rows = length;
    });
  }
  const Entry used = {"lengths.q_len", p.q_used, p.q_len, p.q_len, "q has room for"};
  for (Sequence& s : sequences) {
    s.q_batch = s.index;
    s.q_rows = p.q_len;
    RAPT_RETURN_IF_ERROR(read_entry(used, s.index, &s.q_len));
  }
  return {};
}

Status resolve_dense_keys(const Problem& p, Sequence& s) {
  const Entry row = {"lengths.cache_row", p.cache_row, s.index, p.cache_rows - 1,
                     "the last row of k is"};
  const Entry used = {"lengths.kv_len", p.kv_used, p.kv_len, p.kv_len, "k has room for"};
  RAPT_RETURN_IF_ERROR(read_entry(row, s.index, &s.kv_batch));
  RAPT_RETURN_IF_ERROR(read_entry(used, s.index, &s.kv_len));
  const Entry pad = {"lengths.left_pad", p.left_pad, 0, s.kv_len, "its kv_len is"};
  RAPT_RETURN_IF_ERROR(read_entry(pad, s.index, &s.kv_token));
  s.kv_len -= s.kv_token;
  return {};
}

Status resolve_paged_keys(const Problem& p, Sequence& s) {
  const Entry used = {"lengths.kv_len", p.kv_used, p.kv_len, p.kv_len, "its pages have room for"};
  RAPT_RETURN_IF_ERROR(read_entry(used, s.index, &s.kv_len));
  s.pages = p.page_table + s.index * p.page_table_stride;
  const std::int64_t count = s.kv_len / p.page_size + (s.kv_len % p.page_size != 0 ? 1 : 0);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t page = s.pages[i];
    if (page >= 0 && page < p.pages) continue;
    return invalid(say("pages.table: sequence ", s.index, " entry ", i, " is ", page,
                       ", the cache has ", p.pages, " pages"));
  }
  return {};
}

Status resolve_keys(const Problem& p, std::vector<Sequence>& sequences) {
  if (p.kv_offsets.data != nullptr) {
    const Offsets o = {"ragged.kv_offsets", "ragged.max_kv_len", p.kv_offsets, p.kv_tokens,
                       p.kv_len};
    return walk_offsets(o, sequences, [](Sequence& s, std::int64_t begin, std::int64_t length) {
      s.kv_token = begin;
      s.kv_len = length;
    });
  }
  for (Sequence& s : sequences) {
    RAPT_RETURN_IF_ERROR(p.page_size > 0 ? resolve_paged_keys(p, s) : resolve_dense_keys(p, s));
  }
  return {};
}

Status read_position(const char* field, const Indices& indices, std::int64_t b,
                     std::int64_t* value) {
  if (indices.data == nullptr) return {};
  *value = read_index(indices, b);
  if (*value >= -kMostPosition && *value <= kMostPosition) return {};
  return invalid(say(field, ": sequence ", b, " is ", *value, "; must be within +-2^61"));
}

Status resolve_positions(const Problem& p, Sequence& s) {
  s.q_start = s.kv_len - s.q_len;
  RAPT_RETURN_IF_ERROR(read_position("positions.q_start", p.q_start, s.index, &s.q_start));
  return read_position("positions.kv_start", p.kv_start, s.index, &s.kv_start);
}

// A bias of a ragged or paged call covers each sequence, which only its lengths can tell.
Status check_bias_covers(const Problem& p, const Sequence& s) {
  if (p.bias == nullptr) return {};
  if (s.q_len > p.bias_q_len) {
    return invalid(
        say("bias.bias: q_len is ", p.bias_q_len, ", sequence ", s.index, " has ", s.q_len));
  }
  if (s.kv_len > p.bias_kv_len) {
    return invalid(
        say("bias.bias: kv_len is ", p.bias_kv_len, ", sequence ", s.index, " has ", s.kv_len));
  }
  return {};
}

}  // namespace

std::int64_t read_index(const Indices& indices, std::int64_t i) {
  if (indices.dtype == DType::int64) return read_as<std::int64_t>(indices, i);
  if (indices.dtype == DType::uint32) return read_as<std::uint32_t>(indices, i);
  return read_as<std::int32_t>(indices, i);
}

Indices indices_of(const rapt_tensor& tensor) {
  return {address(tensor), static_cast<DType>(tensor.dtype), stride(tensor, 0)};
}

Status resolve_sequences(const Problem& p, std::vector<Sequence>* sequences) {
  sequences->assign(static_cast<std::size_t>(p.batch), Sequence{});
  std::int64_t index = 0;
  for (Sequence& s : *sequences) s.index = index++;
  RAPT_RETURN_IF_ERROR(resolve_queries(p, *sequences));
  RAPT_RETURN_IF_ERROR(resolve_keys(p, *sequences));
  for (const Sequence& s : *sequences) RAPT_RETURN_IF_ERROR(check_bias_covers(p, s));
  for (Sequence& s : *sequences) RAPT_RETURN_IF_ERROR(resolve_positions(p, s));
  return {};
}

}  // namespace rapt
