// SPDX-License-Identifier: Apache-2.0 OR MIT
// Panels side by side, lines over doubling sizes, both axes logarithmic; a line is named at its
// end.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "bench/chart.h"
#include "bench/svg.h"
#include "bench/text.h"

namespace rapt::bench {
namespace {

constexpr double kWidth = 1280;
constexpr double kHeight = 720;
constexpr double kMargin = 56;
constexpr double kTop = 196;
constexpr double kBottom = 584;
constexpr double kScaleRoom = 64;  // left of a panel's grid
constexpr double kNameRoom = 128;  // right of it

struct Frame {
  double left = 0, right = 0;
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;  // binary and decimal logarithms

  [[nodiscard]] Point place(double x, double y) const {
    const double across = (std::log2(x) - x_low) / std::max(x_high - x_low, 1e-9);
    const double up = (std::log10(y) - y_low) / (y_high - y_low);
    return {left + (right - left) * across, kBottom - (kBottom - kTop) * up};
  }
};

Frame make_frame(const Panel& panel, std::size_t index, std::size_t panels) {
  const double share = (kWidth - 2 * kMargin) / static_cast<double>(panels);
  Frame frame;
  frame.left = kMargin + share * static_cast<double>(index) + kScaleRoom;
  frame.right = kMargin + share * static_cast<double>(index + 1) - kNameRoom;
  frame.x_low = frame.y_low = 1e9;
  frame.x_high = frame.y_high = -1e9;
  for (const Series& series : panel.series) {
    for (const auto& [x, y] : series.points) {
      frame.x_low = std::min(frame.x_low, std::log2(x));
      frame.x_high = std::max(frame.x_high, std::log2(x));
      frame.y_low = std::min(frame.y_low, std::floor(std::log10(y)));
      frame.y_high = std::max(frame.y_high, std::ceil(std::log10(y)));
    }
  }
  frame.y_high = std::max(frame.y_high, frame.y_low + 1);
  return frame;
}

// 0.1, 1, 10, ... 10,000
std::string tick(double power) {
  const int places = power < 0 ? static_cast<int>(-power) : 0;
  std::string text = decimals(std::pow(10, power), places);
  const std::size_t whole = places > 0 ? 1 : text.size();
  for (std::size_t end = whole; end > 3; end -= 3) text.insert(end - 3, ",");
  return text;
}

void draw_grid(Svg& svg, const Frame& frame) {
  for (double power = frame.y_low; power <= frame.y_high; ++power) {
    const Point left = frame.place(std::exp2(frame.x_low), std::pow(10, power));
    svg.line(left, {frame.right, left.y}, kGrid, 1.2);
    svg.text({frame.left - 12, left.y + 5}, tick(power), {15, kQuiet, "end", false});
  }
  for (double power = std::ceil(frame.x_low); power <= frame.x_high; ++power) {
    const Point foot = frame.place(std::exp2(power), std::pow(10, frame.y_low));
    svg.line(foot, {foot.x, foot.y + 6}, kQuiet, 1.2);
    svg.text({foot.x, foot.y + 26}, token_count(std::exp2(power)), {15, kQuiet, "middle", false});
  }
  svg.line({frame.left, kBottom}, {frame.right, kBottom}, kQuiet, 1.2);
}

// Heights for the names at the ends of lines, none closer than a name needs.
std::vector<double> name_heights(const Panel& panel, const Frame& frame) {
  constexpr double kNameHeight = 46;
  std::vector<double> heights;
  for (const Series& series : panel.series) {
    const auto& [x, y] = series.points.back();
    heights.push_back(frame.place(x, y).y);
  }
  for (std::size_t i = 1; i < heights.size(); ++i) {
    const double gap = heights[i] - heights[i - 1];
    if (std::abs(gap) < kNameHeight)
      heights[i] += (gap < 0 ? -1 : 1) * (kNameHeight - std::abs(gap));
  }
  return heights;
}

void draw_series(Svg& svg, const Series& series, const Frame& frame, const char* colour,
                 double name_height) {
  std::vector<Point> points;
  for (const auto& [x, y] : series.points) points.push_back(frame.place(x, y));
  svg.curve(points, colour);
  for (const Point& point : points) svg.dot(point, colour);
  const double x = points.back().x + 16;
  svg.text({x, name_height}, series.name, {18, colour, "start", true});
  svg.text({x, name_height + 21}, series.last, {16, kQuiet, "start", false});
}

void draw_panel(Svg& svg, const Panel& panel, const Frame& frame) {
  svg.text({frame.left - kScaleRoom + 12, kTop - 32}, panel.title, {19, kInk, "start", true});
  draw_grid(svg, frame);
  const std::vector<double> heights = name_heights(panel, frame);
  for (std::size_t i = 0; i < panel.series.size(); ++i) {
    draw_series(svg, panel.series[i], frame, kPalette[i % std::size(kPalette)], heights[i]);
  }
}

}  // namespace

std::string draw(const LineChart& chart) {
  Svg svg(kWidth, kHeight);
  svg.text({kMargin, 68}, chart.title, {34, kInk, "start", true});
  svg.text({kMargin, 102}, chart.subtitle, {18, kQuiet, "start", false});
  for (std::size_t i = 0; i < chart.panels.size(); ++i) {
    const Frame frame = make_frame(chart.panels[i], i, chart.panels.size());
    draw_panel(svg, chart.panels[i], frame);
    svg.text({(frame.left + frame.right) / 2, kBottom + 56}, chart.axis,
             {16, kQuiet, "middle", false});
  }
  svg.text({kMargin, kHeight - 26}, chart.footnote, {14, kQuiet, "start", false});
  return svg.finish();
}

}  // namespace rapt::bench
