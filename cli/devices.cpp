// SPDX-License-Identifier: Apache-2.0 OR MIT
// `rapt devices`: what this machine has.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "bench/text.h"
#include "cli/commands.h"
#include "cli/failure.h"
#include "cli/files.h"

namespace rapt::cli {
namespace {

std::vector<rapt_device_info> all_devices() {
  std::size_t count = 0;
  require_ok(rapt_devices(nullptr, 0, &count));
  rapt_device_info empty{};
  empty.struct_size = sizeof empty;
  std::vector<rapt_device_info> devices(count, empty);
  require_ok(rapt_devices(devices.data(), devices.size(), &count));
  return devices;
}

void print(const rapt_device_info& device) {
  std::printf("%s:%d  %s\n", device.backend, static_cast<int>(device.index), device.name);
  std::printf("  %s%s\n", device.available != 0 ? "" : "not available: ", device.detail);
  if (device.workers == 0 && device.memory_bytes == 0) return;
  const std::string memory = bench::memory_size(static_cast<double>(device.memory_bytes));
  std::printf("  %d workers, %s of memory\n", static_cast<int>(device.workers), memory.c_str());
}

std::string as_json(const std::vector<rapt_device_info>& devices) {
  nlohmann::ordered_json json = {{"schema", 1}, {"devices", nlohmann::ordered_json::array()}};
  for (const rapt_device_info& device : devices) {
    json["devices"].push_back({{"backend", device.backend},
                               {"index", device.index},
                               {"available", device.available != 0},
                               {"name", device.name},
                               {"detail", device.detail},
                               {"memory_bytes", device.memory_bytes},
                               {"workers", device.workers}});
  }
  return json.dump(2) + "\n";
}

void run(const std::string& json) {
  const std::vector<rapt_device_info> devices = all_devices();
  if (json != "-") {
    for (const rapt_device_info& device : devices) print(device);
  }
  if (!json.empty()) write_text(json, as_json(devices));
}

}  // namespace

void add_devices(CLI::App& tool, int& exit) {
  CLI::App* command = tool.add_subcommand("devices", "What this machine has to compute on");
  auto json = std::make_shared<std::string>();
  command->add_option("--json", *json, "Write the list as JSON; - is standard output")
      ->type_name("FILE");
  command->callback([json, &exit] {
    run(*json);
    exit = kDone;
  });
}

}  // namespace rapt::cli
