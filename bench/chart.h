// SPDX-License-Identifier: Apache-2.0 OR MIT
// Charts as SVG text, 16:9, for a slide: bars against a reference line, and lines over growing
// sizes.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace rapt::bench {

struct Bar {
  std::string label;
  double value = 0;   // as a fraction of the reference
  std::string note;   // behind the percentage: "109 GFLOP/s"
  std::string group;  // bars of one group have one colour, and a legend entry
};

struct BarChart {
  std::string title;
  std::string subtitle;
  std::string axis;       // "share of the measured peak"
  std::string reference;  // what 100% is
  std::string footnote;
  std::vector<Bar> bars;
};

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // x ascending, y > 0
  std::string last;                               // the last point's value in words: "81 ms"
};

struct Panel {
  std::string title;  // what y is, and its unit: "time, ms"
  std::vector<Series> series;
};

struct LineChart {
  std::string title;
  std::string subtitle;
  std::string axis;  // what x is
  std::string footnote;
  std::vector<Panel> panels;  // side by side, both axes logarithmic
};

std::string draw(const BarChart& chart);
std::string draw(const LineChart& chart);

}  // namespace rapt::bench
