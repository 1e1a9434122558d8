// SPDX-License-Identifier: Apache-2.0 OR MIT
// NVIDIA's run-time compiler, found at run time. It needs no GPU and no driver. The 13 series
// compiles for sm_75 and newer, the 12 series also for sm_70; both may stand side by side.
#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backend/cuda/arch.h"
#include "backend/cuda/cubin.h"
#include "status.h"

namespace rapt::cuda {

struct NvrtcApi;  // the functions used

class Nvrtc {
 public:
  // Opens the library, checks that it is 12.0 or newer, and compiles one line to see that it works.
  static Status open(const std::string& path, std::unique_ptr<Nvrtc>& compiler);
  ~Nvrtc();
  Nvrtc(const Nvrtc&) = delete;
  Nvrtc& operator=(const Nvrtc&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const std::string& version() const { return version_; }  // "13.0.88"
  [[nodiscard]] int major() const { return major_; }
  [[nodiscard]] bool supports(Arch arch) const;

  // Thread-safe. A text that does not compile is `internal`: rapt wrote it.
  Status compile(const Source& source, Arch arch, Cubin& cubin) const;

 private:
  explicit Nvrtc(std::string path);
  Status read_version();
  Status read_archs();
  Status probe();

  std::string path_;
  std::string version_;
  int major_ = 0;
  std::vector<int> archs_;
  std::unique_ptr<NvrtcApi> api_;
};

// The options that compile() gives, beside the architecture; part of a cubin's key.
std::vector<std::string> nvrtc_options(Arch arch);

// Where a process may have NVRTC. Empty fields are left out.
struct NvrtcPlaces {
  std::string library;      // the file that holds rapt: build/release/librapt.so, site-packages/...
  std::string executable;   // the running program's file
  std::string virtual_env;  // VIRTUAL_ENV
  std::string path;         // PATH: the Python found there has a prefix
  std::string toolkit;      // CUDA_HOME or CUDA_PATH
};
NvrtcPlaces nvrtc_places();

// Files to try, best first: wheels beside rapt, of the Python environment, the linker's, toolkits'.
std::vector<std::string> nvrtc_candidates(const NvrtcPlaces& places);

// Opens candidates in order, each once and only when it is needed.
class NvrtcFinder {
 public:
  explicit NvrtcFinder(std::vector<std::string> candidates);
  static NvrtcFinder& system();

  // The first compiler that knows `arch` and whose cubins a driver of that version loads (12040; 0
  // = no driver to suit). Null: `why` is one sentence. Thread-safe.
  const Nvrtc* find(Arch arch, int driver_version, std::string& why);

 private:
  struct Candidate {
    std::string path;
    bool tried = false;
    std::unique_ptr<Nvrtc> compiler;
    std::string refusal;  // why it cannot be used at all
  };
  static void try_open(Candidate& candidate);
  static std::string refusal(const Candidate& candidate, Arch arch, int driver_version);

  std::mutex mutex_;
  std::vector<Candidate> candidates_;
};

}  // namespace rapt::cuda
