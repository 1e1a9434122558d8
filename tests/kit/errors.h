// SPDX-License-Identifier: Apache-2.0 OR MIT
// Errors of an answer beside those of the yardstick, and when they are too large
// (docs/numerics.md).
#pragma once
#include <string>
#include <vector>

#include "kit/oracle.h"
#include "kit/workload.h"

namespace rapt::kit {

using oracle::Int;

// Yardstick draws where so many keys, counted for each row, matter. The error of one evaluation of
// few numbers is a matter of luck (it may be 0); the largest of several is not. From 16,384 on one
// says enough.
int draws_for(double keys);

// Errors over some elements.
struct Error {
  double max = 0;
  double squares = 0;
  Int count = 0;

  void add(double error);
  [[nodiscard]] double rms() const;
};

// One field's errors: ours, and those of the yardstick, the largest of its draws.
struct Errors {
  const char* field = "";
  Error ours{};
  double yard_max = 0, yard_rms = 0;
  double floor = 0;     // allowed whatever the yardstick says
  std::string where{};  // of the largest error of ours

  void add_yardstick(const Error& error);
};

// Holds our errors over so many rows against the yardstick's; `of` begins the sentence.
void judge(const Errors& errors, Int rows, const std::string& of, Verdict& verdict);

// So many of [0, size), or all where wanted is 0: evenly spread, the last among them.
std::vector<Int> spread(Int size, Int wanted);

std::string format(const char* text, double a, double b, double c);

// A NaN or infinity that some query of a sequence sees may reach the sequence's others too.
bool seen_keys_are_finite(const oracle::Model& model, const oracle::Sequence& sequence);

}  // namespace rapt::kit
