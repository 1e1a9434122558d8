// SPDX-License-Identifier: Apache-2.0 OR MIT
// Compiling ahead for architectures that are named, not found.
#include <string>
#include <string_view>

#include "api/choose.h"
#include "api/say.h"
#include "api/sized.h"
#include "api/verbs.h"

namespace rapt {
namespace {

// "sm_80,sm_90a"; what is no architecture is refused by the backend that knows them.
Status split_archs(const char* archs, std::vector<std::string>* names) {
  if (archs == nullptr) return invalid("archs: is null");
  std::string_view rest = archs;
  for (std::size_t comma = 0; comma != std::string_view::npos;) {
    comma = rest.find(',');
    names->emplace_back(rest.substr(0, comma));
    if (comma != std::string_view::npos) rest.remove_prefix(comma + 1);
  }
  return {};
}

rapt_compiled told(const CompiledKernel& kernel, std::size_t index, std::size_t count) {
  rapt_compiled c = {};
  c.struct_size = sizeof c;
  c.kernel = kernel.kernel.c_str();
  c.arch = kernel.arch.c_str();
  c.config = kernel.config.c_str();
  c.registers = kernel.registers;
  c.spill_bytes = kernel.spill_bytes;
  c.shared_bytes = kernel.shared_bytes;
  c.compile_ms = kernel.compile_ms;
  c.index = static_cast<std::int64_t>(index);
  c.count = static_cast<std::int64_t>(count);
  return c;
}

Status read_job(const rapt_compile_args& args, CompileJob* job) {
  if (args.preset != RAPT_PRESET_COMMON && args.preset != RAPT_PRESET_ALL) {
    return invalid(say("preset: is ", args.preset, "; must be one of rapt_preset"));
  }
  if (args.list_only != 0 && args.list_only != 1) {
    return invalid(say("list_only: is ", args.list_only, "; must be 0 or 1"));
  }
  job->preset = static_cast<Preset>(args.preset);
  job->list_only = args.list_only == 1;
  job->kernel = args.kernel == nullptr ? "" : args.kernel;
  job->report = [args](const CompiledKernel& kernel, std::size_t index, std::size_t count) {
    const rapt_compiled c = told(kernel, index, count);
    if (args.on_compiled != nullptr) args.on_compiled(args.context, &c);
  };
  return split_archs(args.archs, &job->archs);
}

}  // namespace

Status compile(const rapt_compile_args* args) {
  rapt_compile_args a = {};
  CompileJob job;
  Backend* backend = nullptr;
  RAPT_RETURN_IF_ERROR(read_sized("args", args, &a));
  RAPT_RETURN_IF_ERROR(read_job(a, &job));
  RAPT_RETURN_IF_ERROR(choose_backend(backends(), {"archs", DeviceKind::cuda, 0}, {}, &backend));
  return backend->compile(job);
}

}  // namespace rapt
