// SPDX-License-Identifier: Apache-2.0 OR MIT
// The driver of a backward: clears the sums, runs the rounds, writes the gradients.
#include "backend/cpu/gradient.h"

#include <cstring>
#include <vector>

#include "backend/cpu/parallel.h"
#include "backend/cpu/workspace.h"

namespace rapt::cpu {
namespace {

// The workspace: sums of dq, dk, dv, slopes and deltas, then a scratch a worker.
struct Layout {
  std::size_t dq = 0, dk = 0, dv = 0, slopes = 0, deltas = 0;  // floats, up to a cache line
  std::size_t scratch = 0;

  Layout(const Gradient& g, const GradientSchedule& schedule, const Kernels& kernels) {
    const auto floats = [](std::int64_t rows, std::int64_t dim) {
      return rounded(static_cast<std::size_t>(rows * dim) * sizeof(float)) / sizeof(float);
    };
    const std::int64_t rows = schedule.first_row.back(), keys = schedule.first_key.back();
    dq = floats(rows, g.forward.head_dim);
    dk = floats(keys, g.forward.head_dim);
    dv = floats(keys, g.forward.value_dim);
    slopes = g.d_slopes != nullptr ? floats(rows, 1) : 0;
    deltas = g.d_sinks != nullptr ? floats(rows, 1) : 0;
    scratch = rounded(kernels.gradient_scratch_bytes(g));
  }

  [[nodiscard]] std::size_t sum_bytes() const {
    return (dq + dk + dv + slopes + deltas) * sizeof(float);
  }

  [[nodiscard]] GradientSums sums(std::byte* workspace) const {
    auto* next = reinterpret_cast<float*>(workspace);
    const auto take = [&next](std::size_t count) {
      float* piece = count > 0 ? next : nullptr;
      next += count;
      return piece;
    };
    return {take(dq), take(dk), take(dv), take(slopes), take(deltas)};
  }
};

void clear(std::byte* memory, std::size_t bytes, const Target& target) {
  parallel_ranges(target, static_cast<std::int64_t>(bytes), 1,
                  [&](std::int64_t begin, std::int64_t end) {
                    std::memset(memory + begin, 0, static_cast<std::size_t>(end - begin));
                  });
}

// d_bias is the sum itself.
void clear_bias(const Gradient& g) {
  const auto &shape = g.d_bias_shape, &strides = g.d_bias_strides;
  for (std::int64_t b = 0; b < shape[0]; ++b) {
    for (std::int64_t h = 0; h < shape[1]; ++h) {
      for (std::int64_t i = 0; i < shape[2]; ++i) {
        std::memset(g.d_bias + b * strides[0] + h * strides[1] + i * strides[2], 0,
                    static_cast<std::size_t>(shape[3]) * sizeof(float));
      }
    }
  }
}

void clear_cache_row(const Rows& rows, const Problem& p, std::int64_t row, std::int64_t dim) {
  const std::int64_t bytes = p.dtype == DType::fp32 ? 4 : 2;
  for (std::int64_t token = 0; token < p.kv_len; ++token) {
    for (std::int64_t head = 0; head < p.kv_heads; ++head) {
      const std::int64_t at =
          row * rows.batch_stride + token * rows.token_stride + head * rows.head_stride;
      std::memset(static_cast<char*>(rows.data) + at * bytes, 0,
                  static_cast<std::size_t>(dim * bytes));
    }
  }
}

// Rows of a dense cache that serve no sequence.
void clear_unused(const Gradient& g, std::span<const Sequence> sequences) {
  const Problem& p = g.forward;
  std::vector<bool> used(static_cast<std::size_t>(p.cache_rows));
  if (used.empty()) return;  // ragged keys are all somebody's
  for (const Sequence& s : sequences) used[static_cast<std::size_t>(s.kv_batch)] = true;
  for (std::int64_t row = 0; row < p.cache_rows; ++row) {
    if (used[static_cast<std::size_t>(row)]) continue;
    clear_cache_row(g.dk, p, row, p.head_dim);
    clear_cache_row(g.dv, p, row, p.value_dim);
  }
}

}  // namespace

std::size_t gradient_bytes(const Gradient& gradient, const GradientSchedule& schedule,
                           const Kernels& kernels, const Target& target) {
  const Layout layout(gradient, schedule, kernels);
  return layout.sum_bytes() + static_cast<std::size_t>(worker_count(target)) * layout.scratch;
}

void run_gradient(const Gradient& gradient, std::span<const Sequence> sequences,
                  const GradientSchedule& schedule, const Kernels& kernels, std::byte* workspace,
                  const Target& target) {
  const Problem& p = gradient.forward;
  const Layout layout(gradient, schedule, kernels);
  const GradientCall call = {&gradient, sequences.data(), schedule.first_row.data(),
                             schedule.first_key.data(), layout.sums(workspace)};
  clear(workspace, layout.sum_bytes(), target);
  if (gradient.d_bias != nullptr) clear_bias(gradient);
  clear_unused(gradient, sequences);
  std::int64_t begin = 0;
  for (const std::int64_t end : schedule.round_ends) {
    parallel_for(target, end - begin, [&](std::int64_t index, std::int32_t slot) {
      std::byte* scratch =
          workspace + layout.sum_bytes() + static_cast<std::size_t>(slot) * layout.scratch;
      kernels.backward(call, schedule.items[static_cast<std::size_t>(begin + index)], scratch);
    });
    begin = end;
  }
  parallel_for(target, p.batch * p.kv_heads, [&](std::int64_t index, std::int32_t) {
    kernels.finish_gradient(call, index / p.kv_heads, index % p.kv_heads);
  });
  if (gradient.d_sinks == nullptr && gradient.d_slopes == nullptr) return;
  parallel_for(target, p.q_heads,
               [&](std::int64_t head, std::int32_t) { kernels.finish_head(call, head); });
}

}  // namespace rapt::cpu
