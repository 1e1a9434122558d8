// SPDX-License-Identifier: Apache-2.0 OR MIT
// dlopen and dlsym, with the first failure kept as a sentence.
#include "backend/shared_library.h"

#include <dlfcn.h>

namespace rapt {

SharedLibrary::SharedLibrary(const std::string& path)
    : path_(path), handle_(dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (handle_ != nullptr) return;
  const char* why = dlerror();
  error_ = why == nullptr ? "it cannot be opened" : why;
  if (!error_.starts_with(path)) error_ = path + ": " + error_;
}

void* SharedLibrary::symbol(const char* name) {
  void* address = handle_ == nullptr ? nullptr : dlsym(handle_, name);
  if (address == nullptr && error_.empty()) error_ = path_ + ": it has no " + name;
  return address;
}

std::string file_of(const void* address) {
  Dl_info info{};
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return "";
  return info.dli_fname;
}

}  // namespace rapt
