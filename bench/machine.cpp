// SPDX-License-Identifier: Apache-2.0 OR MIT
// Machine and commit, asked of the library and of git.
#include "bench/machine.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <filesystem>
#include <system_error>
#include <vector>

#include "rapt/rapt.h"

extern char** environ;

namespace rapt::bench {
namespace {

// Starts a program found on the path that writes into `output`; 0 where that fails.
pid_t start(std::vector<std::string> words, int output) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int failed =
      posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  return failed == 0 ? child : 0;
}

// A program's standard output; "" where it fails or is not there.
std::string output_of(const std::vector<std::string>& words) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return "";
  const pid_t child = start(words, ends[1]);
  close(ends[1]);
  std::string text;
  std::array<char, 256> chunk{};
  for (ssize_t got = 0; (got = read(ends[0], chunk.data(), chunk.size())) > 0;) {
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int result = 0;
  const bool ended = child != 0 && waitpid(child, &result, 0) == child;
  return ended && result == 0 ? text : "";
}

}  // namespace

Machine this_machine() {
  std::size_t count = 0;
  if (rapt_devices(nullptr, 0, &count) != RAPT_OK) return {};
  rapt_device_info empty{};
  empty.struct_size = sizeof empty;
  std::vector<rapt_device_info> devices(count, empty);
  if (rapt_devices(devices.data(), devices.size(), &count) != RAPT_OK) return {};
  for (const rapt_device_info& device : devices) {
    if (std::string(device.backend) != "cpu") continue;
    return {device.name, device.detail, device.workers, device.memory_bytes};
  }
  return {};
}

std::string this_commit() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (error) return "unknown";
  std::string commit =
      output_of({"git", "--no-optional-locks", "-C", program.parent_path().string(), "describe",
                 "--always", "--dirty", "--abbrev=40", "--exclude=*"});
  while (!commit.empty() && std::isspace(static_cast<unsigned char>(commit.back())) != 0) {
    commit.pop_back();
  }
  return commit.empty() ? "unknown" : commit;
}

}  // namespace rapt::bench
