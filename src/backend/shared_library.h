// SPDX-License-Identifier: Apache-2.0 OR MIT
// A library found at run time. It stays open for the life of the process: neither drivers nor
// compilers survive dlclose.
#pragma once
#include <string>

namespace rapt {

class SharedLibrary {
 public:
  // `path` is a file, or a bare name that the dynamic linker looks up.
  explicit SharedLibrary(const std::string& path);

  // "" when the library is open and every bind() so far found its symbol; else the path and what
  // is wrong with it.
  [[nodiscard]] const std::string& error() const { return error_; }

  template <typename Function>
  void bind(Function*& function, const char* name) {
    function = reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name);

  std::string path_;
  void* handle_ = nullptr;
  std::string error_;
};

// The file that holds `address`, a function of this library say; "" where that is unknown.
std::string file_of(const void* address);

}  // namespace rapt
