// SPDX-License-Identifier: Apache-2.0 OR MIT
// One key: the output is its value. Prints the version and the output.
#include <cstdio>
#include <rapt/rapt.hpp>

int main() {
  const float q[8] = {1}, k[8] = {1}, v[8] = {4, 5};
  float out[8] = {};
  const rapt::Shape shape = {1, 1, 1, 8};
  const rapt::Status status =
      rapt::attend({.q = {q, shape}, .k = {k, shape}, .v = {v, shape}, .out = {out, shape}});
  if (!status) {
    std::puts(status.message().c_str());
    return 1;
  }
  std::printf("%d: %g %g\n", static_cast<int>(rapt_version()), out[0], out[1]);
  return 0;
}
