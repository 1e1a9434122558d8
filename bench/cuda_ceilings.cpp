// SPDX-License-Identifier: Apache-2.0 OR MIT
// The ceilings of a CUDA device.
#include <algorithm>
#include <string>

#include "bench/cuda.h"

namespace rapt::bench {
namespace {

using kit::cuda::DeviceInfo;

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocksOfOne = 8;  // of a multiprocessor
constexpr int kLoads = 8;             // of 16 bytes each, that a thread has under way

// A kernel of so many loads a thread and round; the sum is stored only to count as used.
std::string read_kernel() {
  std::string loads, sums;
  for (int i = 0; i < kLoads; ++i) {
    std::string words;
    for (int j = 4 * i; j < 4 * i + 4; ++j) {
      const std::string word = "%word" + std::to_string(j);
      words += (words.empty() ? "" : ", ") + word;
      sums += "  add.u32 %sum, %sum, " + word + ";\n";
    }
    loads += "  ld.global.v4.u32 {" + words + "}, [%place];\n  add.u64 %place, %place, %step;\n";
  }
  return R"(.version 7.0
.target sm_70
.address_size 64
.visible .entry read_all(.param .u64 data, .param .u32 rounds, .param .u64 sink) {
  .reg .pred %more, %hit;
  .reg .b32 %sum, %threads, %thread, %block, %blocks, %left, %word<32>;
  .reg .b64 %offset, %place, %step, %sink;
  ld.param.u64 %place, [data];
  ld.param.u32 %left, [rounds];
  ld.param.u64 %sink, [sink];
  mov.u32 %thread, %tid.x;
  mov.u32 %threads, %ntid.x;
  mov.u32 %block, %ctaid.x;
  mov.u32 %blocks, %nctaid.x;
  mad.lo.u32 %thread, %block, %threads, %thread;
  mul.wide.u32 %offset, %thread, 16;
  add.u64 %place, %place, %offset;
  mul.lo.u32 %threads, %blocks, %threads;
  mul.wide.u32 %step, %threads, 16;
  mov.u32 %sum, 0;
again:
)" + loads +
         sums +
         R"(  sub.u32 %left, %left, 1;
  setp.ne.u32 %more, %left, 0;
  @%more bra again;
  setp.eq.u32 %hit, %sum, 0x13579bdf;
  @%hit st.global.u32 [%sink], %sum;
  ret;
}
)";
}

unsigned read_blocks() {
  return kBlocksOfOne * static_cast<unsigned>(kit::cuda::device_info().multiprocessors);
}

std::size_t bytes_of_round(unsigned blocks) { return std::size_t{blocks} * kThreads * kLoads * 16; }

// Operations a clock and multiprocessor, a multiply-add counted as two: dense 16-bit products with
// FP32 sums on the tensor cores, and FP32; CUDA C++ Programming Guide (arithmetic throughput) and
// NVIDIA's architecture white papers.
struct Rates {
  int capability;  // and above, until the next
  double half;
  double bf16;
  double fp32;
};
constexpr Rates kRates[] = {
    {70, 1024, 0, 128},    {75, 1024, 0, 128},     {80, 2048, 2048, 128}, {86, 512, 512, 256},
    {90, 4096, 4096, 256}, {100, 8192, 8192, 256}, {120, 512, 512, 256},
};

Rates rates_of(const DeviceInfo& device) {
  Rates rates{};
  for (const Rates& known : kRates) {
    if (known.capability <= 10 * device.major + device.minor) rates = known;
  }
  return rates;
}

double measure_read() {
  constexpr std::size_t kBytes = std::size_t{2} << 30;
  constexpr int kRounds = 12;
  const CudaReader reader(kBytes);
  const kit::cuda::Stream stream;
  const kit::cuda::Event begin, end;
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    begin.record(stream);
    reader.read(stream);
    end.record(stream);
    best =
        std::max(best, static_cast<double>(reader.bytes()) / end.microseconds_since(begin) * 1e-3);
  }
  return best;
}

}  // namespace

CudaReader::CudaReader(std::size_t bytes)
    : blocks_(read_blocks()),
      rounds_(static_cast<unsigned>(bytes / bytes_of_round(blocks_))),
      memory_(kit::memory_at(kit::Place::cuda), bytes),
      kernel_(read_kernel().c_str(), "read_all") {
  kit::cuda::fill(memory_.data(), 0, bytes);
  kit::cuda::synchronize();
}

std::size_t CudaReader::bytes() const { return rounds_ * bytes_of_round(blocks_); }

void CudaReader::read(const kit::cuda::Stream& stream) const {
  void* data = memory_.data();
  unsigned rounds = rounds_;
  void* arguments[] = {&data, &rounds, &data};
  kernel_.launch(stream, blocks_, kThreads, arguments);
}

void CudaReader::clean_cache(const kit::cuda::Stream& stream) const {
  stream.fill(memory_.data(), 0, bytes());
  read(stream);
}

Ceilings measure_cuda_ceilings() {
  const DeviceInfo device = kit::cuda::device_info();
  const Rates rates = rates_of(device);
  const double clocks = device.multiprocessors * device.clock_ghz;  // of all, a nanosecond
  Ceilings found;
  found.isa = "sm_" + std::to_string(10 * device.major + device.minor);
  found.device = device.name;
  found.threads = 0;
  found.fp32_gflops = clocks * rates.fp32;
  found.fp16_gflops = clocks * rates.half;
  found.bf16_gflops = clocks * rates.bf16;
  found.read_gbps = measure_read();
  return found;
}

}  // namespace rapt::bench
