/* SPDX-License-Identifier: Apache-2.0 OR MIT
 * One key: the output is its value. Prints the version and the output. */
#include <rapt/rapt.h>
#include <stdio.h>

int main(void) {
  float q[8] = {1}, k[8] = {1}, v[8] = {4, 5}, out[8] = {0};
  rapt_attention problem = {.struct_size = sizeof problem};
  problem.q = rapt_view(q, RAPT_FP32, RAPT_BSHD, 1, 1, 1, 8);
  problem.k = rapt_view(k, RAPT_FP32, RAPT_BSHD, 1, 1, 1, 8);
  problem.v = rapt_view(v, RAPT_FP32, RAPT_BSHD, 1, 1, 1, 8);
  problem.out = rapt_view(out, RAPT_FP32, RAPT_BSHD, 1, 1, 1, 8);
  if (rapt_attend(&problem, NULL) != RAPT_OK) {
    puts(rapt_error_message());
    return 1;
  }
  printf("%d: %g %g\n", (int)rapt_version(), out[0], out[1]);
  return 0;
}
