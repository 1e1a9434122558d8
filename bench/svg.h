// SPDX-License-Identifier: Apache-2.0 OR MIT
// The few SVG elements that charts are made of. Text is escaped; numbers have two decimals.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace rapt::bench {

// Okabe and Ito's palette, told apart by colour-blind eyes, in the order in which charts use it.
inline constexpr const char* kPalette[] = {"#0072B2", "#D55E00", "#009E73",
                                           "#CC79A7", "#56B4E9", "#E69F00"};
inline constexpr const char* kInk = "#1F2328";
inline constexpr const char* kQuiet = "#656D76";
inline constexpr const char* kGrid = "#E3E6EA";

struct Point {
  double x = 0;
  double y = 0;
};

struct TextStyle {
  double size = 16;
  const char* colour = kInk;
  const char* anchor = "start";  // start, middle, end
  bool bold = false;
};

class Svg {
 public:
  Svg(double width, double height);
  void text(Point at, const std::string& words, const TextStyle& style);
  void line(Point from, Point to, const char* colour, double width, bool dashed = false);
  void bar(Point corner, double width, double height, const char* colour);
  void curve(const std::vector<Point>& points, const char* colour);
  void dot(Point at, const char* colour);
  [[nodiscard]] std::string finish() const;

 private:
  std::string body_;
};

}  // namespace rapt::bench
