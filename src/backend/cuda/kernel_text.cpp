// SPDX-License-Identifier: Apache-2.0 OR MIT
// Flattens includes.
#include "backend/cuda/kernel_text.h"

#include <algorithm>
#include <set>

namespace rapt::cuda {
namespace {

// "ptx.h" from `#include "ptx.h"`; "" from any other line.
std::string_view included(std::string_view line) {
  constexpr std::string_view kDirective = "#include \"";
  if (!line.starts_with(kDirective)) return {};
  line.remove_prefix(kDirective.size());
  return line.substr(0, line.find('"'));
}

// "../ptx.h" seen from "sm90/forward.cuh" is "ptx.h".
std::string beside(std::string_view includer, std::string_view name) {
  std::string folder(includer.substr(0, includer.rfind('/') + 1));
  while (name.starts_with("../") && !folder.empty()) {
    name.remove_prefix(3);
    folder.pop_back();
    folder.erase(folder.rfind('/') + 1);
  }
  return folder.append(name);
}

class Flattener {
 public:
  Flattener(std::span<const KernelFile> files, std::string& text) : files_(files), text_(text) {}

  Status add(const KernelFile& file) {
    if (!seen_.insert(file.name).second) return {};
    line_directive(1, file.name);
    std::string_view rest = file.text;
    for (int number = 1; !rest.empty(); ++number) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      RAPT_RETURN_IF_ERROR(add_line(file, line, number));
    }
    return {};
  }

  [[nodiscard]] const KernelFile* find(std::string_view name) const {
    for (const KernelFile& file : files_) {
      if (file.name == name) return &file;
    }
    return nullptr;
  }

 private:
  Status add_line(const KernelFile& file, std::string_view line, int number) {
    const std::string_view name = included(line);
    if (name.empty()) {
      // The whole text is one main file, where the pragma means nothing.
      text_.append(line == "#pragma once" ? "" : line).append("\n");
      return {};
    }
    const KernelFile* wanted = find(beside(file.name, name));
    if (wanted == nullptr) wanted = find(name);
    if (wanted == nullptr) {
      return internal("kernels: " + std::string(file.name) + " includes " + std::string(name) +
                      ", which is not there");
    }
    RAPT_RETURN_IF_ERROR(add(*wanted));
    line_directive(number + 1, file.name);
    return {};
  }

  void line_directive(int number, std::string_view name) {
    text_ += "#line " + std::to_string(number) + " \"" + std::string(name) + "\"\n";
  }

  std::span<const KernelFile> files_;
  std::string& text_;
  std::set<std::string_view> seen_;
};

}  // namespace

Status flatten(std::span<const KernelFile> files, std::string_view name, std::string& text) {
  Flattener flattener(files, text);
  const KernelFile* file = flattener.find(name);
  if (file == nullptr) return internal("kernels: there is no " + std::string(name));
  return flattener.add(*file);
}

}  // namespace rapt::cuda
