// SPDX-License-Identifier: Apache-2.0 OR MIT
// Binds NVRTC and compiles text to cubins.
#include "backend/cuda/nvrtc.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <utility>

#include "backend/exit_gate.h"
#include "backend/shared_library.h"

namespace rapt::cuda {

using NvrtcResult = int;
using NvrtcProgram = struct _nvrtcProgram*;

struct NvrtcApi {
  const char* (*get_error_string)(NvrtcResult);
  NvrtcResult (*version)(int* major, int* minor);
  NvrtcResult (*get_num_supported_archs)(int* count);
  NvrtcResult (*get_supported_archs)(int* archs);
  NvrtcResult (*create_program)(NvrtcProgram*, const char* text, const char* name, int headers,
                                const char* const* header_texts, const char* const* header_names);
  NvrtcResult (*destroy_program)(NvrtcProgram*);
  NvrtcResult (*compile_program)(NvrtcProgram, int options, const char* const* option_texts);
  NvrtcResult (*get_program_log_size)(NvrtcProgram, std::size_t*);
  NvrtcResult (*get_program_log)(NvrtcProgram, char*);
  NvrtcResult (*get_cubin_size)(NvrtcProgram, std::size_t*);
  NvrtcResult (*get_cubin)(NvrtcProgram, char*);
  NvrtcResult (*get_ptx_size)(NvrtcProgram, std::size_t*);
  NvrtcResult (*get_ptx)(NvrtcProgram, char*);
};

namespace {

constexpr int kOldestMajor = 12;  // the first that compiles C++20

constexpr const char* kAbsent =
    "nvrtc: no libnvrtc.so.13 or .12 beside rapt, in a Python environment, on the library path or "
    "in a toolkit";

void bind(SharedLibrary& library, NvrtcApi& api) {
  library.bind(api.get_error_string, "nvrtcGetErrorString");
  library.bind(api.version, "nvrtcVersion");
  library.bind(api.get_num_supported_archs, "nvrtcGetNumSupportedArchs");
  library.bind(api.get_supported_archs, "nvrtcGetSupportedArchs");
  library.bind(api.create_program, "nvrtcCreateProgram");
  library.bind(api.destroy_program, "nvrtcDestroyProgram");
  library.bind(api.compile_program, "nvrtcCompileProgram");
  library.bind(api.get_program_log_size, "nvrtcGetProgramLogSize");
  library.bind(api.get_program_log, "nvrtcGetProgramLog");
  library.bind(api.get_cubin_size, "nvrtcGetCUBINSize");
  library.bind(api.get_cubin, "nvrtcGetCUBIN");
  library.bind(api.get_ptx_size, "nvrtcGetPTXSize");
  library.bind(api.get_ptx, "nvrtcGetPTX");
}

// NVRTC opens its builtins by bare name, and the 13.0 wheel has no run path to find them by: opened
// first by their full path, the bare name finds them.
void open_builtins(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (folder.empty()) return;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("libnvrtc-builtins.so")) SharedLibrary(entry.path().string());
  }
}

Status refuse(const std::string& path, const std::string& why) {
  return {RAPT_DEVICE_ERROR, "nvrtc: " + path + ": " + why};
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// The line of a log that says why: the first error.
std::string first_error(const std::string& log) {
  const std::size_t at = log.find("error");
  if (at == std::string::npos) return first_line(log);
  const std::size_t start = log.rfind('\n', at);
  return first_line(log.substr(start == std::string::npos ? 0 : start + 1));
}

using SizeFunction = NvrtcResult (*)(NvrtcProgram, std::size_t*);
using BytesFunction = NvrtcResult (*)(NvrtcProgram, char*);

class Program {
 public:
  Program(const NvrtcApi& api, const char* text, const char* name) : api_(api) {
    if (!pass_.given()) return;
    result_ = api_.create_program(&program_, text, name, 0, nullptr, nullptr);
  }
  ~Program() {
    if (program_ != nullptr) api_.destroy_program(&program_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  bool compile(const std::vector<std::string>& options) {
    std::vector<const char*> texts;
    for (const std::string& option : options) texts.push_back(option.c_str());
    if (result_ == 0) {
      result_ = api_.compile_program(program_, static_cast<int>(texts.size()), texts.data());
    }
    return result_ == 0;
  }

  std::string log() { return read<std::string>(api_.get_program_log_size, api_.get_program_log); }
  std::string ptx() { return read<std::string>(api_.get_ptx_size, api_.get_ptx); }
  std::vector<std::byte> cubin() {
    return read<std::vector<std::byte>>(api_.get_cubin_size, api_.get_cubin);
  }
  std::string why() {
    if (!pass_.given()) return "the process is ending";
    const std::string error = first_error(log());
    return error.empty() ? api_.get_error_string(result_) : error;
  }

 private:
  template <typename Bytes>
  Bytes read(SizeFunction size_of, BytesFunction copy) {
    std::size_t size = 0;
    if (program_ == nullptr || size_of(program_, &size) != 0) return {};
    Bytes bytes(size, {});
    if (copy(program_, reinterpret_cast<char*>(bytes.data())) != 0) return {};
    return bytes;
  }

  const ExitGate::Pass pass_;
  const NvrtcApi& api_;
  NvrtcProgram program_ = nullptr;
  NvrtcResult result_ = -1;
};

void drop_closing_zero(std::string& text) {
  while (!text.empty() && text.back() == '\0') text.pop_back();
}

}  // namespace

Nvrtc::Nvrtc(std::string path) : path_(std::move(path)), api_(std::make_unique<NvrtcApi>()) {}
Nvrtc::~Nvrtc() = default;

Status Nvrtc::open(const std::string& path, std::unique_ptr<Nvrtc>& compiler) {
  const ExitGate::Pass pass;
  if (!pass.given()) return refuse(path, "the process is ending");
  open_builtins(path);
  SharedLibrary library(path);
  std::unique_ptr<Nvrtc> opened(new Nvrtc(path));
  bind(library, *opened->api_);
  if (!library.error().empty()) return {RAPT_DEVICE_ERROR, "nvrtc: " + library.error()};
  RAPT_RETURN_IF_ERROR(opened->read_version());
  RAPT_RETURN_IF_ERROR(opened->read_archs());
  RAPT_RETURN_IF_ERROR(opened->probe());
  compiler = std::move(opened);
  return {};
}

Status Nvrtc::read_version() {
  int minor = 0;
  if (api_->version(&major_, &minor) != 0) return refuse(path_, "it does not tell its version");
  version_ = std::to_string(major_) + "." + std::to_string(minor);
  if (major_ >= kOldestMajor) return {};
  return refuse(path_, "it is NVRTC " + version_ + ", 12.0 or newer is wanted");
}

// nvrtcVersion tells "13.0" only, and builds of one series differ in the code that they make; the
// PTX of any kernel tells "V13.0.88". That it compiles at all shows that the builtins are there.
Status Nvrtc::probe() {
  Program program(*api_, "extern \"C\" __global__ void probe() {}", "probe.cu");
  if (!program.compile(nvrtc_options({static_cast<std::int16_t>(archs_.back()), 0}))) {
    return refuse(path_, "it is broken: " + program.why());
  }
  const std::string ptx = program.ptx();
  const std::size_t at = ptx.find(", V" + version_ + ".");
  if (at != std::string::npos) version_ = first_line(ptx.substr(at + 3));
  return {};
}

Status Nvrtc::read_archs() {
  int count = 0;
  if (api_->get_num_supported_archs(&count) != 0 || count <= 0) {
    return refuse(path_, "it does not tell its architectures");
  }
  archs_.resize(static_cast<std::size_t>(count));
  if (api_->get_supported_archs(archs_.data()) != 0) {
    return refuse(path_, "it does not tell its architectures");
  }
  return {};
}

bool Nvrtc::supports(Arch arch) const {
  return std::find(archs_.begin(), archs_.end(), arch.number) != archs_.end();
}

std::vector<std::string> nvrtc_options(Arch arch) {
  // Functions without a mark are device code, so that headers shared with the host need no marks.
  return {"--gpu-architecture=" + arch.name(), "--std=c++20", "--device-as-default-execution-space",
          "--ptxas-options=-v"};
}

Status Nvrtc::compile(const Source& source, Arch arch, Cubin& cubin) const {
  const auto start = std::chrono::steady_clock::now();
  Program program(*api_, source.text.c_str(), source.name.c_str());
  if (!program.compile(nvrtc_options(arch))) {
    return internal("nvrtc: " + version_ + " refused " + source.name + " for " + arch.name() +
                    ": " + program.why());
  }
  cubin.code = program.cubin();
  cubin.log = program.log();
  drop_closing_zero(cubin.log);
  cubin.resources = parse_resources(cubin.log);
  cubin.compiler = version_;
  cubin.compile_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  if (cubin.code.empty()) return internal("nvrtc: " + source.name + ": it made no code");
  return {};
}

NvrtcFinder::NvrtcFinder(std::vector<std::string> candidates) {
  for (std::string& path : candidates) candidates_.push_back({std::move(path), false, {}, {}});
}

NvrtcFinder& NvrtcFinder::system() {
  // Never destroyed: static destructors may still call.
  static NvrtcFinder& finder = *new NvrtcFinder(nvrtc_candidates(nvrtc_places()));
  return finder;
}

void NvrtcFinder::try_open(Candidate& candidate) {
  if (std::exchange(candidate.tried, true)) return;
  const bool bare = candidate.path.find('/') == std::string::npos;
  if (bare && !SharedLibrary(candidate.path).error().empty()) return;  // the linker knows none
  const Status status = Nvrtc::open(candidate.path, candidate.compiler);
  if (!status.ok()) candidate.refusal = status.sentence();
}

std::string NvrtcFinder::refusal(const Candidate& candidate, Arch arch, int driver_version) {
  if (candidate.compiler == nullptr) return candidate.refusal;
  const Nvrtc& compiler = *candidate.compiler;
  const std::string who = "nvrtc: " + compiler.path() + ": " + compiler.version();
  if (!compiler.supports(arch)) return who + " does not know " + arch.name();
  if (driver_version != 0 && compiler.major() > driver_version / 1000) {
    return who + " is newer than the driver, which speaks CUDA " +
           std::to_string(driver_version / 1000);
  }
  return "";
}

const Nvrtc* NvrtcFinder::find(Arch arch, int driver_version, std::string& why) {
  const std::scoped_lock lock(mutex_);
  why.clear();
  for (Candidate& candidate : candidates_) {
    try_open(candidate);
    const std::string sentence = refusal(candidate, arch, driver_version);
    if (candidate.compiler != nullptr && sentence.empty()) return candidate.compiler.get();
    why += (why.empty() || sentence.empty() ? "" : "; ") + sentence;
  }
  if (why.empty()) why = kAbsent;
  return nullptr;
}

}  // namespace rapt::cuda
