// SPDX-License-Identifier: Apache-2.0 OR MIT
// The safetensors format: eight bytes of header length, a JSON header that names dtype, shape and
// place of every tensor, then their bytes. The reader takes any bytes whatever and believes none of
// them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "rapt/rapt.h"

namespace rapt::cli {

struct NamedTensor {
  std::string name;
  std::string dtype_name;        // as the file says: "F32"
  rapt_dtype dtype = RAPT_NONE;  // RAPT_NONE where rapt has no such type ("F64")
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;  // inside the bytes that were read; of any alignment
};

struct Safetensors {
  std::string
      error;  // "" or the sentence that says what is wrong with the file; then nothing else is set
  std::vector<NamedTensor> tensors;  // in the order of their bytes
  std::map<std::string, std::string> metadata;

  [[nodiscard]] const NamedTensor* find(const std::string& name) const;  // null: not there
};

// Reads a whole file held in memory. The tensors tile its data without gap or overlap, each exactly
// as large as its shape and dtype say, and their names are unique.
Safetensors read_safetensors(std::span<const std::byte> file);

// Everything of a file in front of the tensors' bytes, which must follow in the order given. Its
// length is a multiple of 8.
std::string safetensors_header(const std::vector<NamedTensor>& tensors,
                               const std::map<std::string, std::string>& metadata);

// "F32" of RAPT_FP32; "" where the format has no such type.
std::string safetensors_dtype(rapt_dtype dtype);

}  // namespace rapt::cli
