// SPDX-License-Identifier: Apache-2.0 OR MIT
// Where NVRTC may be. The wheel nvidia-cuda-nvrtc keeps it at site-packages/nvidia/cu13/lib, the 12
// series (nvidia-cuda-nvrtc-cu12) at site-packages/nvidia/cuda_nvrtc/lib.
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "backend/cuda/nvrtc.h"
#include "backend/shared_library.h"

namespace rapt::cuda {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::vector<fs::path> children(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    found.push_back(it->path());
  }
  std::sort(found.rbegin(), found.rend());  // newest first: libnvrtc.so.13, cuda-13.0
  return found;
}

class Search {
 public:
  std::vector<std::string> found;

  void add(const std::string& path) {
    if (std::find(found.begin(), found.end(), path) == found.end()) found.push_back(path);
  }

  // libnvrtc.so.13, not its .alt twin.
  void folder(const fs::path& path) {
    for (const fs::path& file : children(path)) {
      if (file.filename().string().starts_with("libnvrtc.so.")) add(canonical(file));
    }
  }

  // Both wheels may be there: cu13 stands before cuda_nvrtc, whose name sorts behind it.
  void site_packages(const fs::path& path) {
    std::vector<fs::path> wheels = children(path / "nvidia");
    std::reverse(wheels.begin(), wheels.end());
    for (const fs::path& wheel : wheels) folder(wheel / "lib");
  }

  void python_prefix(const fs::path& path) {
    for (const fs::path& python : children(path / "lib")) {
      if (python.filename().string().starts_with("python3"))
        site_packages(python / "site-packages");
    }
  }

  void toolkit(const fs::path& path) {
    folder(path / "lib64");
    folder(path / "targets/x86_64-linux/lib");
    folder(path / "targets/sbsa-linux/lib");
  }

  // Every folder above a file: a build tree with its venv, or the site-packages that rapt is in. A
  // folder that anybody may write to ends the walk: code from there would be anybody's.
  void above(const fs::path& file) {
    for (fs::path at = file.parent_path(); at.has_relative_path(); at = at.parent_path()) {
      if (anybody_writes(at)) return;
      python_prefix(at / "venv");
      python_prefix(at / "build/venv");
      site_packages(at);
      python_prefix(at);
    }
  }

  // The environment of the first python3 on PATH: its folder's parent, links not followed.
  void python_on(const std::string& path) {
    for (std::size_t start = 0; start < path.size();) {
      const std::size_t end = std::min(path.find(':', start), path.size());
      const fs::path folder = path.substr(start, end - start);
      std::error_code error;
      if (folder.is_absolute() && fs::exists(folder / "python3", error)) {
        return python_prefix(folder.parent_path());
      }
      start = end + 1;
    }
  }

 private:
  static bool anybody_writes(const fs::path& folder) {
    std::error_code error;
    const fs::perms mode = fs::status(folder, error).permissions();
    return mode != fs::perms::unknown && (mode & fs::perms::others_write) != fs::perms::none;
  }

  static std::string canonical(const fs::path& file) {
    std::error_code error;
    const fs::path real = fs::canonical(file, error);
    return error ? file.string() : real.string();
  }
};

}  // namespace

NvrtcPlaces nvrtc_places() {
  std::error_code ignored;
  NvrtcPlaces places;
  const std::string library = file_of(reinterpret_cast<const void*>(&nvrtc_places));
  places.library = fs::absolute(library, ignored).string();
  places.executable = fs::read_symlink("/proc/self/exe", ignored).string();
  places.virtual_env = environment("VIRTUAL_ENV");
  places.path = environment("PATH");
  places.toolkit = environment("CUDA_HOME");
  if (places.toolkit.empty()) places.toolkit = environment("CUDA_PATH");
  return places;
}

std::vector<std::string> nvrtc_candidates(const NvrtcPlaces& places) {
  Search search;
  search.above(places.library);
  search.above(places.executable);
  if (!places.virtual_env.empty()) search.python_prefix(places.virtual_env);
  search.python_on(places.path);
  search.add("libnvrtc.so.13");
  search.add("libnvrtc.so.12");
  if (!places.toolkit.empty()) search.toolkit(places.toolkit);
  search.toolkit("/usr/local/cuda");
  for (const fs::path& folder : children("/usr/local")) {
    if (folder.filename().string().starts_with("cuda-")) search.toolkit(folder);
  }
  return search.found;
}

}  // namespace rapt::cuda
