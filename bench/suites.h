// SPDX-License-Identifier: Apache-2.0 OR MIT
// The named suites: lists of cases, what their rows are compared with, and which ceiling they are
// about.
#pragma once
#include <string>
#include <vector>

namespace rapt::bench {

enum class Bound { compute, read };  // the ceiling that `share` is of
enum class Chart { share, relative, growth };

struct Entry {
  std::string label;   // for people: "FP32 D128 causal"
  std::string text;    // the case
  int threads = 0;     // 0 = those of the run
  int peer = -1;       // the entry that speedup is relative to; -1 = none
  bool plain = false;  // computed by the peer, bench/plain.h
  bool alone = false;  // CUDA: one call at a time with a clean cache
};

struct Suite {
  std::string name;
  std::string title;    // of its chart: a claim that the chart lets one judge
  std::string summary;  // one line for --list
  Bound bound = Bound::compute;
  Chart chart = Chart::share;
  std::vector<Entry> entries;
  std::string backend = {};  // where the command line names none; "" = the library chooses
};

const std::vector<Suite>& suites();
const Suite* find_suite(const std::string& name);  // null: no such suite

// A suite of one case that the user wrote.
Suite suite_of_case(const std::string& text);

}  // namespace rapt::bench
