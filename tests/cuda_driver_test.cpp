// SPDX-License-Identifier: Apache-2.0 OR MIT
// What rapt makes of libcuda's answers: sentences, devices, contexts, launches. The driver is a
// stand-in, so that every machine runs these.
#include "backend/cuda/driver.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "stand_in_driver.h"

namespace rapt::cuda {
namespace {

constexpr CUresult kIllegalAddress = 700;
constexpr CUresult kNotSupported = 801;

// Handles are places in memory that nobody opens, so that they can be counted.
char places[256];
CUcontext context(std::ptrdiff_t number) { return reinterpret_cast<CUcontext>(places + number); }
CUstream stream(std::ptrdiff_t number) { return reinterpret_cast<CUstream>(places + number); }
template <typename Handle>
std::ptrdiff_t number_of(Handle handle) {
  return reinterpret_cast<char*>(handle) - places;
}

// Two devices; context 10 + d is device d's primary one, 20 + d another of it. Stream 100 + c is
// context c's.
struct Machine {
  CUresult launch_answer = kSuccess;
  std::vector<CUcontext> stack;
  int retained = 0;
  CUlaunchConfig launched{};
  std::vector<CUlaunchAttribute> attributes;
  std::vector<std::string> calls;  // on streams and events, with what was passed
  CUresult answer = kSuccess;      // to each of them, and to encode
  TiledTensor encoded;
};
Machine machine;

CUevent event(std::ptrdiff_t number) { return reinterpret_cast<CUevent>(places + number); }

int device_of_current() { return static_cast<int>(number_of(machine.stack.back()) % 10); }

CUresult retain(CUcontext* made, CUdevice device) {
  *made = context(10 + device);
  ++machine.retained;
  return kSuccess;
}

CUresult context_of_stream(CUstream given, CUcontext* found) {
  if (given == stream(99)) return kNotSupported;  // of a green context
  *found = context(number_of(given) - 100);
  return kSuccess;
}

CUresult push(CUcontext pushed) {
  machine.stack.push_back(pushed);
  return kSuccess;
}

CUresult pop(CUcontext* popped) {
  *popped = machine.stack.back();
  machine.stack.pop_back();
  return kSuccess;
}

CUresult launch(const CUlaunchConfig* config, CUkernel, void**, void**) {
  machine.launched = *config;
  machine.attributes.assign(config->attributes, config->attributes + config->attribute_count);
  return machine.launch_answer;
}

CUresult called(const std::string& call) {
  machine.calls.push_back(call);
  return machine.answer;
}

template <typename... Handles>
std::string numbers(Handles... handles) {
  std::string text;
  ((text += " " + std::to_string(number_of(handles))), ...);
  return text;
}

void fill_events(DriverApi& api) {
  api.event_create = [](CUevent* made, unsigned flags) {
    *made = event(50 + static_cast<int>(flags));
    return called("create");
  };
  api.event_destroy = [](CUevent gone) { return called("destroy" + numbers(gone)); };
  api.event_record = [](CUevent mark, CUstream in) { return called("record" + numbers(mark, in)); };
  api.event_synchronize = [](CUevent mark) { return called("await" + numbers(mark)); };
  api.event_elapsed_time = [](float* milliseconds, CUevent from, CUevent to) {
    *milliseconds = 1.5F;
    return called("elapsed" + numbers(from, to));
  };
}

CUresult encode(CUtensorMap* map, int type, std::uint32_t rank, void* data,
                const std::uint64_t* shape, const std::uint64_t* byte_strides,
                const std::uint32_t* box, const std::uint32_t* element_strides, int interleave,
                int swizzle, int promotion, int fill) {
  map->opaque[0] = 77;
  TiledTensor& seen = machine.encoded;
  seen = {.type = type, .rank = rank, .data = data, .swizzle = swizzle, .promotion = promotion};
  for (std::uint32_t d = 0; d < rank; ++d) {
    seen.shape[d] = shape[d];
    seen.box[d] = box[d];
    if (d > 0) seen.byte_strides[d - 1] = byte_strides[d - 1];
    EXPECT_EQ(element_strides[d], 1U);
  }
  EXPECT_EQ(interleave, 0);
  EXPECT_EQ(fill, 0) << "zeros outside";
  return machine.answer;
}

DriverApi stand_in(const test::Pretended& devices = {}) {
  machine = {};
  DriverApi api = test::pretend(devices);
  api.device_primary_ctx_retain = retain;
  api.ctx_get_current = [](CUcontext* current) {
    *current = machine.stack.empty() ? nullptr : machine.stack.back();
    return kSuccess;
  };
  api.ctx_get_device = [](CUdevice* device) { return *device = device_of_current(), kSuccess; };
  api.ctx_push_current = push;
  api.ctx_pop_current = pop;
  api.stream_get_ctx = context_of_stream;
  api.mem_alloc = [](void**, std::size_t) { return kOutOfMemory; };
  api.mem_alloc_async = [](void** memory, std::size_t bytes, CUstream in) {
    *memory = places + bytes;
    return called("allocate" + numbers(in));
  };
  api.mem_free_async = [](void* memory, CUstream in) {
    return called("release" + numbers(static_cast<char*>(memory), in));
  };
  api.launch_kernel_ex = launch;
  api.tensor_map_encode_tiled = encode;
  fill_events(api);
  return api;
}

TEST(Driver, ListsDevices) {
  const Driver driver(stand_in());
  ASSERT_TRUE(driver.status().ok()) << driver.status().sentence();
  ASSERT_EQ(driver.devices().size(), 2U);
  EXPECT_EQ(driver.devices()[1].name, "Test GPU");
  EXPECT_EQ(driver.devices()[1].arch.name(), "sm_90a");
  EXPECT_EQ(driver.devices()[1].multiprocessors, 132);
}

TEST(Driver, RefusesAnOldOneInWords) {
  const Driver driver(stand_in({.version = 11080}));
  EXPECT_EQ(driver.status().sentence(), "driver: it speaks CUDA 11.8, 12.0 or newer is wanted");
  EXPECT_EQ(ContextScope(driver, 0, nullptr).status().code(), RAPT_DEVICE_ERROR);
}

TEST(Driver, SaysThatThereIsNoDevice) {
  EXPECT_EQ(Driver(stand_in({.count = 0})).status().sentence(), "driver: it lists no device");
}

TEST(Driver, OfThisMachineAnswersWithDevicesOrASentence) {
  const Driver& driver = Driver::system();
  if (driver.status().ok()) {
    EXPECT_FALSE(driver.devices().empty());
  } else {
    EXPECT_NE(driver.status().sentence().find(": "), std::string::npos);
    EXPECT_TRUE(driver.status().sentence().starts_with("driver: ") ||
                driver.status().sentence().starts_with("cu"));
  }
}

TEST(Driver, NamesWhatWasRefused) {
  const Driver driver(stand_in());
  machine.launch_answer = kIllegalAddress;
  const Status status = driver.launch(
      {.name = "cuda/sm90_decode", .grid = {264, 1, 1}, .block = {128, 1, 1}}, nullptr);
  EXPECT_EQ(status.code(), RAPT_DEVICE_ERROR);
  EXPECT_EQ(status.sentence(),
            "cuLaunchKernelEx: CUDA_ERROR_ILLEGAL_ADDRESS (cuda/sm90_decode, grid 264 x 1 x 1)");
  void* memory = nullptr;
  const Status full = driver.allocate(4096, memory);
  EXPECT_EQ(full.code(), RAPT_OUT_OF_MEMORY);
  EXPECT_EQ(full.sentence(), "cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (4096 bytes)");
}

TEST(Driver, LaunchesWithWhatWasAsked) {
  const Driver driver(stand_in());
  ASSERT_TRUE(driver
                  .launch({.grid = {8, 4, 2},
                           .block = {384, 1, 1},
                           .shared_bytes = 1000,
                           .cluster = 2,
                           .programmatic = true,
                           .stream = stream(7)},
                          nullptr)
                  .ok());
  EXPECT_EQ(machine.launched.grid_y, 4U);
  EXPECT_EQ(machine.launched.block_x, 384U);
  EXPECT_EQ(machine.launched.shared_bytes, 1000U);
  EXPECT_EQ(machine.launched.stream, stream(7));
  ASSERT_EQ(machine.attributes.size(), 2U);
  EXPECT_EQ(machine.attributes[0].value.cluster.x, 2U);
  EXPECT_EQ(machine.attributes[1].value.flag, 1);
}

TEST(Driver, AllocatesInTheOrderOfAStream) {
  const Driver driver(stand_in());
  void* memory = nullptr;
  EXPECT_TRUE(driver.allocate_async(48, memory, stream(7)).ok());
  EXPECT_EQ(memory, places + 48);
  EXPECT_TRUE(driver.release_async(memory, stream(8)).ok());
  EXPECT_EQ(machine.calls, (std::vector<std::string>{"allocate 7", "release 48 8"}));
  machine.answer = kOutOfMemory;
  const Status full = driver.allocate_async(48, memory, stream(7));
  EXPECT_EQ(full.code(), RAPT_OUT_OF_MEMORY);
  EXPECT_EQ(full.sentence(), "cuMemAllocAsync: CUDA_ERROR_OUT_OF_MEMORY (48 bytes)");
  machine.answer = kIllegalAddress;
  EXPECT_EQ(driver.release_async(memory, stream(8)).sentence(),
            "cuMemFreeAsync: CUDA_ERROR_ILLEGAL_ADDRESS");
}

TEST(Driver, MarksStreamsWithEvents) {
  const Driver driver(stand_in());
  CUevent timed = nullptr;
  CUevent plain = nullptr;
  float milliseconds = 0;
  EXPECT_TRUE(driver.create_event(Timing::on, timed).ok());
  EXPECT_TRUE(driver.create_event(Timing::off, plain).ok());
  EXPECT_EQ(timed, event(50));
  EXPECT_EQ(plain, event(52)) << "CU_EVENT_DISABLE_TIMING";
  EXPECT_TRUE(driver.record(timed, stream(7)).ok());
  EXPECT_TRUE(driver.await(plain).ok());
  EXPECT_TRUE(driver.elapsed(timed, plain, milliseconds).ok());
  EXPECT_EQ(milliseconds, 1.5F);
  EXPECT_TRUE(driver.destroy_event(plain).ok());
  EXPECT_EQ(machine.calls, (std::vector<std::string>{"create", "create", "record 50 7", "await 52",
                                                     "elapsed 50 52", "destroy 52"}));
}

TEST(Driver, NamesTheEventFunctionThatFailed) {
  const Driver driver(stand_in());
  machine.answer = kIllegalAddress;
  CUevent mark = nullptr;
  float milliseconds = 0;
  const std::pair<Status, std::string> answers[] = {
      {driver.create_event(Timing::on, mark), "cuEventCreate"},
      {driver.record(mark, stream(7)), "cuEventRecord"},
      {driver.await(mark), "cuEventSynchronize"},
      {driver.elapsed(mark, mark, milliseconds), "cuEventElapsedTime"},
      {driver.destroy_event(mark), "cuEventDestroy"}};
  for (const auto& [status, function] : answers) {
    EXPECT_EQ(status.code(), RAPT_DEVICE_ERROR);
    EXPECT_EQ(status.sentence(), function + ": CUDA_ERROR_ILLEGAL_ADDRESS");
  }
}

TEST(Driver, EncodesATensorForTma) {
  const Driver driver(stand_in());
  const TiledTensor tensor = {.type = kTensorFp16,
                              .rank = 3,
                              .data = places,
                              .shape = {64, 8, 1000},
                              .byte_strides = {128, 1024},
                              .box = {64, 1, 128},
                              .swizzle = kSwizzle64,
                              .promotion = kPromote256};
  CUtensorMap map{};
  ASSERT_TRUE(driver.encode(tensor, map).ok());
  EXPECT_EQ(map.opaque[0], 77U);
  EXPECT_TRUE(machine.encoded == tensor);
  machine.answer = kIllegalAddress;
  EXPECT_EQ(driver.encode(tensor, map).sentence(),
            "cuTensorMapEncodeTiled: CUDA_ERROR_ILLEGAL_ADDRESS (rank 3)");
}

TEST(ContextScope, KeepsTheCallersOwnContextOfTheDevice) {
  const Driver driver(stand_in());
  machine.stack = {context(21)};
  const ContextScope scope(driver, 1, nullptr);
  EXPECT_TRUE(scope.status().ok());
  EXPECT_EQ(machine.stack, std::vector<CUcontext>{context(21)});
  EXPECT_EQ(machine.retained, 0);
}

TEST(ContextScope, BringsThePrimaryOneOfAnotherDeviceAndTakesItAway) {
  const Driver driver(stand_in());
  for (const std::vector<CUcontext>& before :
       {std::vector<CUcontext>{}, std::vector<CUcontext>{context(21)}}) {
    machine.stack = before;
    {
      const ContextScope scope(driver, 0, nullptr);
      EXPECT_TRUE(scope.status().ok());
      EXPECT_EQ(machine.stack.back(), context(10));
    }
    EXPECT_EQ(machine.stack, before);
  }
  EXPECT_EQ(machine.retained, 1) << "kept from its first use";
}

TEST(ContextScope, FollowsTheStream) {
  const Driver driver(stand_in());
  machine.stack = {context(10)};
  {
    const ContextScope scope(driver, 0, stream(120));
    EXPECT_TRUE(scope.status().ok());
    EXPECT_EQ(machine.stack.back(), context(20));
  }
  EXPECT_EQ(machine.stack.size(), 1U);
}

TEST(ContextScope, RefusesAStreamOfAnotherDevice) {
  const Driver driver(stand_in());
  {
    const ContextScope scope(driver, 0, stream(121));
    EXPECT_EQ(scope.status().code(), RAPT_INVALID_ARGUMENT);
    EXPECT_EQ(scope.status().sentence(),
              "stream: it belongs to CUDA device 1, the tensors are on device 0");
  }
  EXPECT_TRUE(machine.stack.empty());
}

TEST(ContextScope, TakesTheCurrentContextForAStreamThatTellsNone) {
  const Driver driver(stand_in());
  machine.stack = {context(20)};
  const ContextScope scope(driver, 0, stream(99));
  EXPECT_TRUE(scope.status().ok());
  EXPECT_EQ(machine.stack.size(), 1U);
}

TEST(ContextScope, RefusesADeviceThatIsNotThere) {
  const Driver driver(stand_in());
  for (const int ordinal : {-1, 2}) {
    const ContextScope scope(driver, ordinal, nullptr);
    EXPECT_EQ(scope.status().sentence(), "device_index: it is " + std::to_string(ordinal) +
                                             ", this machine has 2 CUDA devices");
  }
}

}  // namespace
}  // namespace rapt::cuda
