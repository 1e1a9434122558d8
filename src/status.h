// SPDX-License-Identifier: Apache-2.0 OR MIT
// The answer of every internal verb: a code and one sentence that begins with the field at fault.
#pragma once
#include <cstdint>
#include <string>
#include <utility>

#include "rapt/rapt.h"

namespace rapt {

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(rapt_status code, std::string sentence) : code_(code), sentence_(std::move(sentence)) {}

  [[nodiscard]] bool ok() const { return code_ == RAPT_OK; }
  [[nodiscard]] rapt_status code() const { return code_; }
  [[nodiscard]] const std::string& sentence() const { return sentence_; }

 private:
  rapt_status code_ = RAPT_OK;
  std::string sentence_;
};

inline Status invalid(std::string sentence) { return {RAPT_INVALID_ARGUMENT, std::move(sentence)}; }
inline Status unsupported(std::string sentence) { return {RAPT_UNSUPPORTED, std::move(sentence)}; }
inline Status out_of_memory(std::string sentence) {
  return {RAPT_OUT_OF_MEMORY, std::move(sentence)};
}
inline Status internal(std::string sentence) { return {RAPT_INTERNAL, std::move(sentence)}; }

}  // namespace rapt

// The one control-flow macro of the library: leave with the first answer that is not ok.
#define RAPT_RETURN_IF_ERROR(expression)                       \
  do {                                                         \
    if (::rapt::Status s_ = (expression); !s_.ok()) return s_; \
  } while (false)
