// SPDX-License-Identifier: Apache-2.0 OR MIT
// Tensors on a device, with host memory that plays the device: every byte goes there and comes
// back, and what the watch over outputs and inputs finds on the host it finds there too.
#include "kit/device_problem.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "kit/attempt.h"
#include "kit/cases.h"
#include "kit/workload.h"

namespace rapt::kit {
namespace {

rapt_options on_cpu() {
  rapt_options options{};
  options.struct_size = sizeof options;
  options.backend = "cpu";
  return options;
}

std::set<const void*> addresses(const rapt_attention& problem) {
  ProblemCopy copy(problem);
  std::set<const void*> all;
  for (const rapt_tensor* t : copy.tensors()) {
    if (t->dtype != RAPT_NONE) all.insert(t->data);
  }
  return all;
}

TEST(DeviceProblem, NoTensorStaysOnTheHost) {
  for (const NamedCase& named : named_cases()) {
    const Workload workload(case_of(named.text), Contents::values, Place::stand_in);
    const auto host = addresses(workload.host_attention());
    const auto device = addresses(workload.attention());
    EXPECT_EQ(host.size(), device.size()) << named.name;
    for (const void* address : device) {
      EXPECT_NE(address, nullptr) << named.name;
      EXPECT_FALSE(host.contains(address)) << named.name;
    }
  }
}

TEST(DeviceProblem, KeepsEveryCrookedAlignment) {
  const Workload workload(case_of("order=padded dtype=bf16 q_heads=2 bias=fp16"), Contents::values,
                          Place::stand_in);
  ProblemCopy host(workload.host_attention()), device(workload.attention());
  for (std::size_t n = 0; n < host.tensors().size(); ++n) {
    const auto at = [n](ProblemCopy& problem) {
      return reinterpret_cast<std::uintptr_t>(problem.tensors()[n]->data) % 64;
    };
    EXPECT_EQ(at(host), at(device)) << n;
  }
}

TEST(DeviceProblem, ComputesEveryNamedCase) {
  for (const NamedCase& named : named_cases()) {
    const Attempt there = attempt_at(Place::stand_in, case_of(named.text), on_cpu());
    EXPECT_TRUE(there.verdict.passed) << named.name << ": " << there.verdict.sentence;
  }
}

TEST(DeviceProblem, GivesTheBitsOfTheHost) {
  for (const char* text : {"q_heads=4 kv_heads=2 order=padded mask=causal",
                           "page_size=16 kv_lens=150,33 q_len=9 dtype=bf16 layout=x_packed"}) {
    const Workload host(case_of(text));
    Workload device(case_of(text), Contents::values, Place::stand_in);
    const rapt_options options = on_cpu();
    ASSERT_EQ(rapt_attend(&host.attention(), &options), RAPT_OK) << rapt_error_message();
    ASSERT_EQ(rapt_attend(&device.attention(), &options), RAPT_OK) << rapt_error_message();
    EXPECT_NE(device.output_bytes(), host.output_bytes()) << "before the download";
    device.download();
    EXPECT_EQ(device.output_bytes(), host.output_bytes());
  }
}

TEST(DeviceProblem, StrayWritesOnTheDeviceAreFound) {
  Workload workload(case_of("order=padded q_heads=2"), Contents::values, Place::stand_in);
  workload.download();
  EXPECT_EQ(workload.stray_writes(), "");
  static_cast<float*>(workload.attention().out.data)[-1] = 0;
  workload.download();
  EXPECT_EQ(workload.stray_writes(), "out: memory between its elements was written");
  workload.poison_outputs();
  workload.download();
  EXPECT_EQ(workload.stray_writes(), "");
}

TEST(DeviceProblem, AChangedInputOnTheDeviceIsFound) {
  for (const char* text :
       {"q_heads=2", "page_size=16", "q=ragged kv=ragged q_lens=3,5 kv_lens=7,2"}) {
    Workload workload(case_of(text), Contents::values, Place::stand_in);
    const rapt_attention& a = workload.attention();
    const rapt_tensor& victim = a.pages ? a.pages->table : a.ragged ? a.ragged->kv_offsets : a.v;
    static_cast<unsigned char*>(victim.data)[1] ^= 1;
    workload.download();
    EXPECT_EQ(workload.stray_writes(), "inputs: their memory was written") << text;
  }
}

TEST(DeviceProblem, GradientsAreOnTheDeviceToo) {
  const Workload workload(case_of("direction=backward bias=fp32 sinks=1 alibi=head"),
                          Contents::values, Place::stand_in);
  const rapt_gradient& g = workload.gradient();
  EXPECT_EQ(g.forward, &workload.attention());
  const auto host = addresses(workload.host_attention());
  for (const rapt_tensor* t : {&g.d_out, &g.dq, &g.dk, &g.dv, &g.d_bias, &g.d_sinks, &g.d_slopes}) {
    EXPECT_NE(t->data, nullptr);
    EXPECT_FALSE(host.contains(t->data));
  }
}

TEST(DeviceProblem, StorageOfAGradientHoldsAllOfItsTensors) {
  const Workload workload(case_of("direction=backward bias=fp32 sinks=1 alibi=head"));
  const rapt_gradient& g = workload.host_gradient();
  const DeviceProblem device(*g.forward, storage_of(g), Place::stand_in);
  const rapt_gradient moved = device.moved(g);
  EXPECT_EQ(moved.forward, &device.attention());
  for (const rapt_tensor* t : {&moved.d_out, &moved.dq, &moved.dk, &moved.dv, &moved.d_bias,
                               &moved.d_sinks, &moved.d_slopes, &moved.forward->q}) {
    EXPECT_NE(t->data, nullptr);
  }
}

TEST(DeviceProblem, ShapesAloneNeedNoDevice) {
  const Workload workload(case_of("page_size=16 kv_lens=3,5 alibi=head"), Contents::none,
                          Place::cuda);
  ProblemCopy copy(workload.attention());
  for (const rapt_tensor* t : copy.tensors()) {
    if (t->dtype == RAPT_NONE) continue;
    EXPECT_EQ(t->device_kind, RAPT_CUDA);
    EXPECT_EQ(t->data, nullptr);
  }
}

TEST(DeviceProblem, OptionsSayWhere) {
  const auto place = [](const char* backend, const char* kernel) {
    rapt_options options{};
    options.backend = backend;
    options.kernel = kernel;
    return place_of(options);
  };
  EXPECT_EQ(place("cpu", nullptr), Place::host);
  EXPECT_EQ(place("cuda", nullptr), Place::cuda);
  EXPECT_EQ(place(nullptr, "cuda/portable_forward"), Place::cuda);
  EXPECT_EQ(place(nullptr, "cpu/avx2_forward"), Place::host);
}

TEST(DeviceProblem, AnAbsentDeviceIsASentence) {
  EXPECT_EQ(why_absent(Place::host), "");
  EXPECT_EQ(why_absent(Place::stand_in), "");
  const std::string absent = why_absent(Place::cuda);
  if (absent.empty()) GTEST_SKIP() << "this machine has a GPU that rapt runs on";
  EXPECT_EQ(absent.rfind("backend: cuda: ", 0), 0U) << absent;
  rapt_options options{};
  options.struct_size = sizeof options;
  options.backend = "cuda";
  const Attempt attempt = kit::attempt(case_of("q_len=8"), options);
  EXPECT_TRUE(attempt.refused());
  EXPECT_EQ(attempt.verdict.sentence, absent);
}

}  // namespace
}  // namespace rapt::kit
