// SPDX-License-Identifier: Apache-2.0 OR MIT
// append (RoPE, every layout) and page moves of the CPU backend against plain loops.
#include "backend/cpu/cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "elements.h"

namespace rapt::cpu {
namespace {

Target two_threads() {
  Target target;
  target.threads = 2;
  return target;
}

template <class Element>
class CacheOf : public testing::Test {};
TYPED_TEST_SUITE(CacheOf, Elements);

constexpr std::int64_t kPages = 6, kPage = 4, kHeads = 2, kDim = 24, kQueryHeads = 4;

// Element (page, row, head, d) of a layout's packed memory, written out as its definition says.
std::int64_t place(std::int32_t layout, std::int64_t x, std::int64_t slot, std::int64_t head,
                   std::int64_t d) {
  const std::int64_t page = slot / kPage, row = slot % kPage;
  switch (layout) {
    case RAPT_PAGE_HEAD_DIM:
      return ((page * kPage + row) * kHeads + head) * kDim + d;
    case RAPT_HEAD_PAGE_DIM:
      return ((page * kHeads + head) * kPage + row) * kDim + d;
    case RAPT_HEAD_DIM_PAGE:
      return ((page * kHeads + head) * kDim + d) * kPage + row;
    default:
      return (((page * kHeads + head) * (kDim / x) + d / x) * kPage + row) * x + d % x;
  }
}

PagedRows paged(std::int32_t layout, std::int64_t x, void* data) {
  const std::int64_t page = kPage * kHeads * kDim;
  switch (layout) {
    case RAPT_PAGE_HEAD_DIM:
      return {data, page, kHeads * kDim, kDim, 1, 1};
    case RAPT_HEAD_PAGE_DIM:
      return {data, page, kDim, kPage * kDim, 1, 1};
    case RAPT_HEAD_DIM_PAGE:
      return {data, page, 1, kDim * kPage, kPage, 1};
    default:
      return {data, page, x, kDim * kPage, kPage * x, x};
  }
}

// One append of `tokens` tokens, some of them skipped, into poisoned caches.
template <class Element>
struct Append {
  static constexpr std::int64_t x = 16 / std::int64_t{sizeof(typename Element::Stored)};
  std::int64_t tokens;
  std::int32_t layout;
  Values<Element> k, v, q, q_out, k_cache, v_cache;
  std::vector<float> cos, sin;
  std::vector<std::int64_t> slots;
  std::vector<std::int32_t> positions;
  AppendJob job;

  Append(std::int64_t count, std::int32_t page_layout, std::int64_t rotary_dim, bool interleaved)
      : tokens(count), layout(page_layout) {
    k = random_values<Element>(tokens * kHeads * kDim, 1);
    v = random_values<Element>(tokens * kHeads * kDim, 2);
    q = random_values<Element>(tokens * kQueryHeads * kDim, 3);
    q_out.resize(q.size());
    k_cache.assign(kPages * kPage * kHeads * kDim, Element::store(77));
    v_cache = k_cache;
    cos = random_values<Fp32>(50 * kDim, 4);
    sin = random_values<Fp32>(50 * kDim, 5);
    for (std::int64_t t = 0; t < tokens; ++t) {
      slots.push_back(t % 5 == 3 ? -1 : (t * 7 + 2) % (kPages * kPage));
      positions.push_back(static_cast<std::int32_t>((t * 11) % 50));
    }
    fill_job(rotary_dim, interleaved);
  }

  void fill_job(std::int64_t rotary_dim, bool interleaved) {
    job.dtype = dtype_of<Element>();
    job.tokens = tokens;
    job.k = {{k.data(), 0, kHeads * kDim, kDim}, kHeads, kDim};
    job.v = {{v.data(), 0, kHeads * kDim, kDim}, kHeads, kDim};
    job.k_pages = paged(layout, x, k_cache.data());
    job.v_pages = paged(v_layout(), x, v_cache.data());
    job.page_size = kPage;
    job.pages = kPages;
    job.slots = {slots.data(), DType::int64, 1};
    if (rotary_dim == 0) return;
    job.q = {{q.data(), 0, kQueryHeads * kDim, kDim}, kQueryHeads, kDim};
    job.q_out = {q_out.data(), 0, kQueryHeads * kDim, kDim};
    job.rope = {cos.data(), sin.data(), kDim,       kDim, {positions.data(), DType::int32, 1},
                50,         rotary_dim, interleaved};
  }

  [[nodiscard]] std::int32_t v_layout() const {
    return layout == RAPT_X_PACKED ? RAPT_HEAD_DIM_PAGE : layout;
  }

  // Element d of a head, turned as the token's position says.
  double turned(const Values<Element>& from, std::int64_t head_begin, std::int64_t token,
                std::int64_t d) const {
    const auto at = [&](std::int64_t e) {
      return double{Element::load(from[static_cast<std::size_t>(head_begin + e)])};
    };
    const std::int64_t half = job.rope.rotary_dim / 2;
    if (d >= 2 * half) return at(d);
    const bool first = job.rope.interleaved ? d % 2 == 0 : d < half;
    const std::int64_t pair = job.rope.interleaved ? d / 2 : d % half;
    const std::int64_t other = job.rope.interleaved ? d ^ 1 : (d + half) % (2 * half);
    const auto row =
        static_cast<std::size_t>(positions[static_cast<std::size_t>(token)] * kDim + pair);
    return at(d) * double{cos[row]} + (first ? -1.0 : 1.0) * at(other) * double{sin[row]};
  }

  void expect_caches() const {
    Values<Element> untouched_k(k_cache.size(), Element::store(77));
    std::vector<bool> written(k_cache.size(), false), written_v(v_cache.size(), false);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const std::int64_t slot = slots[static_cast<std::size_t>(t)];
      if (slot < 0) continue;
      for (std::int64_t i = 0; i < kHeads * kDim; ++i) {
        const std::int64_t head = i / kDim, d = i % kDim, begin = (t * kHeads + head) * kDim;
        const auto at_k = static_cast<std::size_t>(place(layout, x, slot, head, d));
        const auto at_v = static_cast<std::size_t>(place(v_layout(), x, slot, head, d));
        expect_near<Element>(k_cache[at_k], turned(k, begin, t, d));
        ASSERT_EQ(v_cache[at_v], v[static_cast<std::size_t>(begin + d)]);
        written[at_k] = written_v[at_v] = true;
      }
    }
    for (std::size_t i = 0; i < k_cache.size(); ++i) {
      ASSERT_TRUE(written[i] || k_cache[i] == Element::store(77));
      ASSERT_TRUE(written_v[i] || v_cache[i] == Element::store(77));
    }
  }

  void expect_queries() const {
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(q_out.size()); ++i) {
      const std::int64_t d = i % kDim, token = i / (kQueryHeads * kDim);
      expect_near<Element>(q_out[static_cast<std::size_t>(i)], turned(q, i - d, token, d));
    }
  }
};

constexpr std::int32_t kLayouts[] = {RAPT_PAGE_HEAD_DIM, RAPT_HEAD_PAGE_DIM, RAPT_HEAD_DIM_PAGE,
                                     RAPT_X_PACKED};

TYPED_TEST(CacheOf, AppendWritesEveryLayoutAndSkipsMinusOne) {
  for (const std::int32_t layout : kLayouts) {
    Append<TypeParam> append_case(17, layout, 0, false);
    ASSERT_TRUE(append(append_case.job, two_threads()).ok());
    append_case.expect_caches();
  }
}

TYPED_TEST(CacheOf, AppendTurnsKeysAndQueries) {
  for (const std::int32_t layout : kLayouts) {
    for (const std::int64_t rotary_dim : {2, 10, 24}) {
      for (const bool interleaved : {false, true}) {
        Append<TypeParam> append_case(17, layout, rotary_dim, interleaved);
        ASSERT_TRUE(append(append_case.job, two_threads()).ok());
        append_case.expect_caches();
        append_case.expect_queries();
      }
    }
  }
}

TYPED_TEST(CacheOf, AppendTurnsQueriesInPlace) {
  for (const bool interleaved : {false, true}) {
    Append<TypeParam> apart(17, RAPT_PAGE_HEAD_DIM, 10, interleaved);
    Append<TypeParam> in_place(17, RAPT_PAGE_HEAD_DIM, 10, interleaved);
    in_place.job.q_out.data = in_place.q.data();
    ASSERT_TRUE(append(apart.job, {}).ok());
    ASSERT_TRUE(append(in_place.job, {}).ok());
    EXPECT_EQ(in_place.q, apart.q_out);
  }
}

TEST(Append, IgnoresSlotsAndPositionsOutOfRange) {
  Append<Fp32> append_case(17, RAPT_HEAD_PAGE_DIM, 10, false);
  append_case.slots[0] = kPages * kPage;
  append_case.slots[1] = INT64_MAX;
  append_case.slots[2] = INT64_MIN;
  append_case.positions[4] = 50;
  append_case.positions[5] = -1;
  ASSERT_TRUE(append(append_case.job, {}).ok());
  for (std::size_t i = 0; i < 3; ++i) append_case.slots[i] = -1;
  append_case.positions[4] = 49;
  append_case.positions[5] = 0;
  append_case.expect_caches();
}

TEST(Append, MovesEightBitElementsButDoesNotTurnThem) {
  std::vector<std::uint8_t> k = {1, 2, 3, 4, 5, 6, 7, 8}, v = {9, 10, 11, 12, 13, 14, 15, 16};
  std::vector<std::uint8_t> k_cache(16), v_cache(16);
  const std::int64_t slot = 1;
  AppendJob job;
  job.dtype = DType::fp8_e4m3;
  job.tokens = 1;
  job.k = {{k.data(), 0, 8, 8}, 1, 8};
  job.v = {{v.data(), 0, 8, 8}, 1, 8};
  job.k_pages = {k_cache.data(), 16, 8, 16, 1, 1};
  job.v_pages = {v_cache.data(), 16, 1, 16, 2, 1};
  job.page_size = 2;
  job.pages = 1;
  job.slots = {&slot, DType::int64, 1};
  ASSERT_TRUE(append(job, {}).ok());
  for (std::size_t d = 0; d < 8; ++d) {
    EXPECT_EQ(k_cache[8 + d], k[d]);
    EXPECT_EQ(v_cache[2 * d + 1], v[d]);
    EXPECT_EQ(k_cache[d] + v_cache[2 * d], 0);
  }
  job.rope.rotary_dim = 4;
  const Status status = append(job, {});
  EXPECT_EQ(status.code(), RAPT_UNSUPPORTED);
  EXPECT_EQ(status.sentence(), "rope: the cache has 8-bit elements, rope takes fp32, fp16 or bf16");
}

// Enough tokens that several threads share them.
TEST(Append, IsTheSameForEveryNumberOfThreads) {
  constexpr std::int64_t kTokens = 40000;
  Append<Bf16> one(kTokens, RAPT_HEAD_DIM_PAGE, 24, true);
  Append<Bf16> seven(kTokens, RAPT_HEAD_DIM_PAGE, 24, true);
  for (std::size_t t = kPages * kPage; t < kTokens; ++t) one.slots[t] = seven.slots[t] = -1;
  Target target;
  target.threads = 1;
  ASSERT_TRUE(append(one.job, target).ok());
  target.threads = 7;
  ASSERT_TRUE(append(seven.job, target).ok());
  EXPECT_EQ(one.q_out, seven.q_out);
  EXPECT_EQ(one.k_cache, seven.k_cache);
  one.expect_queries();
}

// Pages of [3, 4, 5] elements, `gap` elements behind each row and page; sources and targets
// interleaved as the pairs of the public call are.
struct Pages {
  std::int64_t row_stride, page_stride;
  std::vector<std::uint16_t> memory;
  static constexpr std::int64_t count = 8;

  explicit Pages(std::int64_t gap)
      : row_stride(5 + gap),
        page_stride(3 * 4 * row_stride + gap),
        memory(static_cast<std::size_t>(count * page_stride)) {
    for (std::size_t i = 0; i < memory.size(); ++i) {
      memory[i] = static_cast<std::uint16_t>(i + 1 + static_cast<std::size_t>(1000 * gap));
    }
  }

  [[nodiscard]] std::size_t at(std::int64_t page, std::int64_t i) const {
    return static_cast<std::size_t>(page * page_stride + i / 5 * row_stride + i % 5);
  }
};

PageJob page_job(const Pages* from, Pages& to, const std::vector<std::int64_t>& pairs) {
  PageJob job;
  job.dtype = DType::bf16;
  job.rank = 3;
  const std::int64_t shape[] = {3, 4, 5};
  const auto strides = [](const Pages& pages, std::int64_t* out) {
    out[0] = 4 * pages.row_stride;
    out[1] = pages.row_stride;
    out[2] = 1;
  };
  std::copy_n(shape, 3, job.shape);
  strides(to, job.to_strides);
  job.to = to.memory.data();
  job.to_page_stride = to.page_stride;
  if (from != nullptr) {
    strides(*from, job.from_strides);
    job.from = from->memory.data();
    job.from_page_stride = from->page_stride;
    job.sources = pairs.data();
  }
  job.targets = pairs.data() + 1;
  job.count = static_cast<std::int64_t>(pairs.size() / 2);
  job.index_stride = 2;
  return job;
}

const std::vector<std::int64_t> kPairs = {0, 3, 0, 7, 5, 4, 6, 1};  // from, to

void expect_moved(const Pages* from, const Pages& to, const Pages& before) {
  std::vector<std::uint16_t> want = before.memory;
  for (std::size_t pair = 0; pair < kPairs.size(); pair += 2) {
    for (std::int64_t i = 0; i < 3 * 4 * 5; ++i) {
      want[to.at(kPairs[pair + 1], i)] =
          from == nullptr ? std::uint16_t{0} : from->memory[from->at(kPairs[pair], i)];
    }
  }
  EXPECT_EQ(to.memory, want);
}

TEST(MovePages, CopiesWithinOneCacheWithAndWithoutGaps) {
  for (const std::int64_t gap : {0, 3}) {
    Pages cache(gap);
    const Pages before = cache;
    ASSERT_TRUE(move_pages(page_job(&cache, cache, kPairs), {}).ok());
    expect_moved(&before, cache, before);
  }
}

TEST(MovePages, SwapsBetweenCachesOfOtherStrides) {
  for (const std::int64_t gap : {0, 1}) {
    const Pages from(2 - gap);
    Pages to(gap);
    const Pages before = to;
    ASSERT_TRUE(move_pages(page_job(&from, to, kPairs), {}).ok());
    expect_moved(&from, to, before);
  }
}

TEST(MovePages, ClearsPagesAndNothingElse) {
  for (const std::int64_t gap : {0, 3}) {
    Pages cache(gap);
    const Pages before = cache;
    ASSERT_TRUE(move_pages(page_job(nullptr, cache, kPairs), {}).ok());
    expect_moved(nullptr, cache, before);
  }
}

TEST(MovePages, LargePagesAreSharedAmongThreads) {
  constexpr std::int64_t kElements = 100000;
  std::vector<float> from(4 * kElements), to(4 * kElements);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
  const std::int64_t sources[] = {3, 2, 1, 0}, targets[] = {0, 1, 2, 3};
  PageJob job;
  job.dtype = DType::fp32;
  job.rank = 1;
  job.shape[0] = kElements;
  job.from_strides[0] = job.to_strides[0] = 1;
  job.from = from.data();
  job.to = to.data();
  job.from_page_stride = job.to_page_stride = kElements;
  job.count = 4;
  job.sources = sources;
  job.targets = targets;
  ASSERT_TRUE(move_pages(job, two_threads()).ok());
  for (std::size_t i = 0; i < to.size(); ++i) {
    ASSERT_EQ(to[i], from[(3 - i / kElements) * kElements + i % kElements]);
  }
}

}  // namespace
}  // namespace rapt::cpu
