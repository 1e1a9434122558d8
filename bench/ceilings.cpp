// SPDX-License-Identifier: Apache-2.0 OR MIT
// Ceilings: the fastest of many short rounds, so that a neighbour on the machine lowers a share
// only while the kernel runs, never by lowering the ceiling.
#include "bench/ceilings.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "bench/peak.h"
#include "bench/team.h"

namespace rapt::bench {
namespace {

constexpr int kPeakRounds = 40;
constexpr double kFlopsPerRound = 1.2e9;  // ~10 ms on one of today's cores

double probed_peak(const std::string& isa, rapt_dtype dtype, int threads) {
  for (const PeakProbe& probe : peak_probes()) {
    if (probe.isa != isa || probe.dtype != dtype || !probe.runs_here()) continue;
    const auto turns = static_cast<std::int64_t>(kFlopsPerRound / probe.flops);
    const double seconds =
        fastest_round(threads, kPeakRounds, [&](int, int) { probe.loop(turns); });
    return threads * static_cast<double>(turns) * probe.flops / seconds * 1e-9;
  }
  return 0;
}

constexpr std::size_t kLine = 64;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kSlice = std::size_t{128} << 20;  // a thread reads in one round
constexpr std::size_t kSlices = 4;                      // of a thread: 512 MiB, beyond any cache

// Memory that is really there: written once, in large pages where the system grants them.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : bytes_(bytes) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    data_ = static_cast<char*>(memory);
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    for (std::size_t i = 0; i < bytes; i += kPage) data_[i] = 1;
  }
  ~Buffer() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  [[nodiscard]] const char* data() const { return data_; }

 private:
  std::size_t bytes_;
  char* data_ = nullptr;
};

using Words = std::uint64_t __attribute__((vector_size(16)));

// Reads `bytes` as so many neighbouring pages side by side, asking for each line `ahead` bytes
// early (0: leaves that to the hardware). Which pattern keeps a memory controller busiest differs
// between machines.
template <std::size_t streams, std::size_t ahead>
void read_slice(const char* data, std::size_t bytes) {
  Words sums[4] = {};
  for (std::size_t page = 0; page < bytes; page += streams * kPage) {
    for (std::size_t line = 0; line < kPage; line += kLine) {
      for (std::size_t stream = 0; stream < streams; ++stream) {
        const char* place = data + page + stream * kPage + line;
        if (ahead > 0) __builtin_prefetch(place + ahead, 0, 3);
        const auto* words = reinterpret_cast<const Words*>(place);
        for (std::size_t i = 0; i < 4; ++i) sums[i] += words[i];
      }
    }
  }
  sums[0] += sums[1] + sums[2] + sums[3];
  asm volatile("" : : "m"(sums[0]));  // the sums count as used
}

constexpr void (*kPatterns[])(const char*, std::size_t) = {
    read_slice<1, 0>,     read_slice<1, 1024>,  read_slice<2, 0>,   read_slice<4, 0>,
    read_slice<4, kPage>, read_slice<8, kPage>, read_slice<8, 512>,
};
constexpr int kReadRounds = 8;

double measure_read(int threads) {
  const std::size_t share = kSlice * kSlices;
  const Buffer buffer(share * static_cast<std::size_t>(threads));
  if (buffer.data() == nullptr) return 0;
  double best = 0;
  for (const auto read : kPatterns) {
    const double seconds = fastest_round(threads, kReadRounds, [&](int thread, int round) {
      const std::size_t slice = static_cast<std::size_t>(round) % kSlices;
      read(buffer.data() + share * static_cast<std::size_t>(thread) + kSlice * slice, kSlice);
    });
    best = std::max(best, threads * static_cast<double>(kSlice) / seconds * 1e-9);
  }
  return best;
}

}  // namespace

Ceilings measure_ceilings(const std::string& isa, int threads) {
  Ceilings found;
  found.isa = isa;
  found.threads = threads;
  found.fp32_gflops = probed_peak(isa, RAPT_FP32, threads);
  found.bf16_gflops = probed_peak(isa, RAPT_BF16, threads);
  found.read_gbps = measure_read(threads);
  return found;
}

double measure_peak(const Ceilings& of, rapt_dtype dtype) {
  const bool own = dtype == RAPT_BF16 && of.bf16_gflops > 0;
  return probed_peak(of.isa, own ? RAPT_BF16 : RAPT_FP32, of.threads);
}

double peak_gflops(const Ceilings& ceilings, rapt_dtype dtype) {
  double own = 0;
  if (dtype == RAPT_BF16) own = ceilings.bf16_gflops;
  if (dtype == RAPT_FP16) own = ceilings.fp16_gflops;
  return own > 0 ? own : ceilings.fp32_gflops;
}

std::string isa_of_kernel(const std::string& kernel) {
  std::string longest;
  for (const PeakProbe& probe : peak_probes()) {
    const std::string isa = probe.isa;
    if (kernel.find("/" + isa + "_") != std::string::npos && isa.size() > longest.size()) {
      longest = isa;
    }
  }
  return longest;
}

}  // namespace rapt::bench
