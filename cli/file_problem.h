// SPDX-License-Identifier: Apache-2.0 OR MIT
// An attention problem over the tensors of a safetensors file, with the features that words of
// `key=value` ask for: what `rapt attend` and `rapt check` compute.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "cli/safetensors.h"
#include "kit/case.h"
#include "rapt/rapt.h"

namespace rapt::cli {

// q, k and v of rank 4 are [batch, tokens, heads, dim]; of rank 3 they are one sequence, or several
// laid end to end where the file has q_offsets and kv_offsets. Tensors bias, slopes (ALiBi) and
// sinks switch their features on.
class FileProblem {
 public:
  // Throws invalid_argument for what is wrong with the file, usage for the keys.
  FileProblem(const std::string& path, const std::vector<std::string>& keys);
  FileProblem(const FileProblem&) = delete;
  FileProblem& operator=(const FileProblem&) = delete;

  // Until make_outputs(), out and lse have shapes but no memory, which is enough for rapt_prepare.
  [[nodiscard]] const rapt_attention& attention() const { return attention_; }
  // Memory full of NaN; to be called once the library has found the problem valid.
  void make_outputs();
  // out, and lse unless the keys say lse=0.
  [[nodiscard]] std::vector<NamedTensor> results() const;
  // Names of tensors that play no part.
  [[nodiscard]] std::vector<std::string> unused() const;

 private:
  const NamedTensor& need(const std::string& name) const;
  rapt_tensor view(const NamedTensor& tensor);
  rapt_tensor view_rows(const std::string& name);
  std::byte* allocate(std::size_t bytes);
  void take_rows();
  void take_features();
  void take_offsets();
  void take_keys();

  std::vector<std::byte> bytes_;
  Safetensors file_;
  kit::Case keys_;
  std::vector<std::unique_ptr<std::byte[]>> memory_;  // the outputs, and inputs that lay crooked
  float scale_ = 0;
  rapt_mask mask_{};
  rapt_softcap softcap_{};
  rapt_alibi alibi_{};
  rapt_bias bias_{};
  rapt_sinks sinks_{};
  rapt_dropout dropout_{};
  rapt_ragged ragged_{};
  rapt_attention attention_{};
};

}  // namespace rapt::cli
