// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the compiler is given and what it makes: source text in, machine code and its resources out.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rapt::cuda {

// One kernel as text that includes nothing.
struct Source {
  std::string name;   // "cuda/portable_forward", for sentences
  std::string entry;  // the extern "C" function of the text
  std::string text;
  std::uint32_t shared_bytes = 0;  // dynamic shared memory that a launch will ask for
};

// As ptxas reports them.
struct Resources {
  std::int32_t registers = 0;          // a thread
  std::int32_t stack_bytes = 0;        // a thread
  std::int32_t spill_store_bytes = 0;  // a thread
  std::int32_t spill_load_bytes = 0;   // a thread
  std::int32_t shared_bytes = 0;       // static, a block
  std::vector<std::string> warnings;   // any, and ptxas's notes C75xx: wgmma that it serialised
  friend bool operator==(const Resources&, const Resources&) = default;
};

struct Cubin {
  std::vector<std::byte> code;
  std::string log;  // the compiler's, kept beside the code so that resources can always be told
  Resources resources;
  std::string compiler;     // "13.0.88"
  double compile_ms = 0.0;  // 0 where it came from the disk
  std::string not_kept;     // why it is not on the disk; "" = it is
};

// Reads the log of a compilation with --ptxas-options=-v.
Resources parse_resources(std::string_view log);

}  // namespace rapt::cuda
