// SPDX-License-Identifier: Apache-2.0 OR MIT
// An attention problem over the tensors of a safetensors file, with the features that words of
// `key=value` ask for, and its gradient: what `rapt attend` and `rapt check` compute.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "cli/safetensors.h"
#include "kit/case.h"
#include "rapt/rapt.h"

namespace rapt::cli {

struct InputFile {
  std::vector<std::byte> bytes;
  Safetensors tensors;  // inside the bytes
};

// q, k and v of rank 4 are [batch, tokens, heads, dim]; of rank 3 they are one sequence, or several
// laid end to end where the file has q_offsets and kv_offsets. Tensors bias, slopes (ALiBi) and
// sinks switch their features on.
class FileProblem {
 public:
  // Throws invalid_argument for what is wrong with a file, usage for the keys. The tensor d_out of
  // a second file, where one is named, asks for the gradients.
  FileProblem(const std::string& path, const std::vector<std::string>& keys,
              const std::string& d_out_path = "");
  FileProblem(const FileProblem&) = delete;
  FileProblem& operator=(const FileProblem&) = delete;

  // Until make_outputs(), outputs have shapes but no memory, which is enough for rapt_prepare.
  [[nodiscard]] const rapt_attention& attention() const { return attention_; }
  // Null where no d_out was given.
  [[nodiscard]] const rapt_gradient* gradient() const {
    return gradient_.forward == nullptr ? nullptr : &gradient_;
  }
  // Memory full of NaN; to be called once the library has found the problem valid.
  void make_outputs();
  // out, lse unless the keys say lse=0, and the gradients of all that the file holds.
  [[nodiscard]] std::vector<NamedTensor> results() const;
  // Names of tensors that play no part.
  [[nodiscard]] std::vector<std::string> unused() const;

 private:
  rapt_tensor view(const NamedTensor& tensor);
  rapt_tensor view_rows(const InputFile& file, const std::string& name);
  std::byte* allocate(std::size_t bytes);
  void take_rows();
  void take_features();
  void take_offsets();
  void take_keys();
  void take_gradient(const std::string& d_out_path);

  InputFile file_, d_out_file_;
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
  rapt_gradient gradient_{};
};

}  // namespace rapt::cli
