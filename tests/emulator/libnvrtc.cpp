// SPDX-License-Identifier: Apache-2.0 OR MIT
// A libnvrtc whose machine code is the host's, for the emulated GPU: what it makes of a kernel is a
// shared library that libcuda.cpp loads.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace {

namespace fs = std::filesystem;

enum Result { kSuccess = 0, kCompilation = 6, kInternal = 11 };

// What the build says of the emulator: where its Python, headers and driver are, and which it is.
constexpr std::string_view kFolder = RAPT_EMULATOR_FOLDER;
constexpr std::string_view kSources = RAPT_EMULATOR_SOURCES;
constexpr std::string_view kDriver = RAPT_EMULATOR_DRIVER;
constexpr std::string_view kCompiler = RAPT_EMULATOR_COMPILER;
constexpr std::string_view kHash = RAPT_EMULATOR_HASH;

struct Program {
  std::string text, name, library, log;
};

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A folder of its own, gone at the end of the scope.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "rapt-emulator-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] fs::path file(const char* name) const { return path_ / name; }

 private:
  fs::path path_;
};

std::string in_quotes(std::string_view word) { return "'" + std::string(word) + "' "; }

// Of "--gpu-architecture=sm_90a": "90".
std::string arch_of(int count, const char* const* options) {
  constexpr std::string_view kOption = "--gpu-architecture=sm_";
  for (int i = 0; i < count; ++i) {
    const std::string_view option = options[i];
    if (option.starts_with(kOption)) return std::string(option.substr(kOption.size(), 2));
  }
  return "80";
}

Result compile(Program& program, const std::string& arch) {
  const Folder folder;
  const fs::path text = folder.file("kernel.cu"), library = folder.file("kernel.so"),
                 log = folder.file("log");
  std::ofstream(text) << program.text;
  std::string command = "python3 -B " + in_quotes(std::string(kFolder) + "/compile.py");
  command += in_quotes(text.string()) + in_quotes(library.string()) + "--arch " + arch;
  command += " --driver " + in_quotes(kDriver) + "--include " + in_quotes(kSources);
  command += "--compiler " + in_quotes(kCompiler) + "2>" + in_quotes(log.string());
  const int status = std::system(command.c_str());
  program.log = bytes_of(log);
  program.library = bytes_of(library);
  if (status == 0) return kSuccess;
  std::fprintf(stderr, "emulated GPU: %s:\n%s\n", program.name.c_str(), program.log.c_str());
  return kCompilation;
}

Result copy(const std::string& text, char* to) {
  std::memcpy(to, text.data(), text.size());
  to[text.size()] = '\0';
  return kSuccess;
}

constexpr int kArchs[] = {70, 75, 80, 86, 89, 90};

}  // namespace

extern "C" {

using nvrtcProgram = Program*;

const char* nvrtcGetErrorString(int) { return "the emulator's compiler failed"; }
int nvrtcVersion(int* major, int* minor) {
  *major = 13;
  *minor = 0;
  return kSuccess;
}
int nvrtcGetNumSupportedArchs(int* count) { return *count = std::size(kArchs), kSuccess; }
int nvrtcGetSupportedArchs(int* archs) {
  std::memcpy(archs, kArchs, sizeof kArchs);
  return kSuccess;
}

int nvrtcCreateProgram(nvrtcProgram* made, const char* text, const char* name, int,
                       const char* const*, const char* const*) {
  *made = new Program{text, name, {}, {}};
  return kSuccess;
}
int nvrtcDestroyProgram(nvrtcProgram* program) {
  delete *program;
  *program = nullptr;
  return kSuccess;
}

// Whoever only asks whether this compiler works need not wait for it.
int nvrtcCompileProgram(nvrtcProgram program, int count, const char* const* options) {
  if (program->name == "probe.cu") return kSuccess;
  return compile(*program, arch_of(count, options));
}

int nvrtcGetProgramLogSize(nvrtcProgram program, std::size_t* bytes) {
  return *bytes = program->log.size() + 1, kSuccess;
}
int nvrtcGetProgramLog(nvrtcProgram program, char* to) { return copy(program->log, to); }
int nvrtcGetCUBINSize(nvrtcProgram program, std::size_t* bytes) {
  return *bytes = program->library.size(), kSuccess;
}
int nvrtcGetCUBIN(nvrtcProgram program, char* to) {
  std::memcpy(to, program->library.data(), program->library.size());
  return kSuccess;
}

// All that anybody looks for in it is the compiler's version.
std::string ptx() { return "// emulator, V13.0." + std::string(kHash) + "\n"; }
int nvrtcGetPTXSize(nvrtcProgram, std::size_t* bytes) {
  return *bytes = ptx().size() + 1, kSuccess;
}
int nvrtcGetPTX(nvrtcProgram, char* to) { return copy(ptx(), to); }
}
