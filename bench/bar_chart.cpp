// SPDX-License-Identifier: Apache-2.0 OR MIT
// Horizontal bars, one a case, against a line that marks 100%.
#include <algorithm>
#include <cmath>
#include <vector>

#include "bench/chart.h"
#include "bench/svg.h"
#include "bench/text.h"

namespace rapt::bench {
namespace {

constexpr double kWidth = 1280;
constexpr double kMargin = 56;
constexpr double kTop = 176;
constexpr double kNoteRoom = 190;    // right of the longest bar
constexpr double kCharacter = 10.4;  // of a label, in a wide font
constexpr double kLabelSize = 18;

struct Frame {
  double left = 0, right = 0, pitch = 0, height = 0;
  double most = 1;  // the value at the right edge

  [[nodiscard]] double x(double value) const { return left + (right - left) * value / most; }
  [[nodiscard]] double y(std::size_t bar) const { return kTop + pitch * static_cast<double>(bar); }
};

Frame make_frame(const BarChart& chart) {
  Frame frame;
  std::size_t longest = 0;
  double most = 1;
  for (const Bar& bar : chart.bars) {
    longest = std::max(longest, bar.label.size());
    most = std::max(most, bar.value);
  }
  const auto bars = static_cast<double>(std::max<std::size_t>(chart.bars.size(), 1));
  frame.left = kMargin + std::min(kCharacter * static_cast<double>(longest) + 20, kWidth / 2);
  frame.right = kWidth - kMargin - kNoteRoom;
  frame.pitch = std::clamp(430 / bars, 32.0, 64.0);
  frame.height = kTop + frame.pitch * bars + 126;
  frame.most = std::ceil(most * 4 - 1e-9) / 4;  // the next quarter
  return frame;
}

std::vector<std::string> groups_of(const BarChart& chart) {
  std::vector<std::string> groups;
  for (const Bar& bar : chart.bars) {
    if (std::find(groups.begin(), groups.end(), bar.group) == groups.end()) {
      groups.push_back(bar.group);
    }
  }
  return groups;
}

const char* colour_of(const std::vector<std::string>& groups, const std::string& group) {
  const auto place = std::find(groups.begin(), groups.end(), group) - groups.begin();
  return kPalette[static_cast<std::size_t>(place) % std::size(kPalette)];
}

void draw_heading(Svg& svg, const BarChart& chart, const Frame& frame) {
  svg.text({kMargin, 68}, chart.title, {34, kInk, "start", true});
  svg.text({kMargin, 102}, chart.subtitle, {18, kQuiet, "start", false});
  svg.text({kMargin, frame.height - 26}, chart.footnote, {14, kQuiet, "start", false});
}

void draw_grid(Svg& svg, const BarChart& chart, const Frame& frame) {
  const double bottom = frame.y(chart.bars.size());
  for (double value = 0; value < frame.most + 0.01; value += 0.25) {
    const bool reference = value == 1;
    const double x = frame.x(value);
    svg.line({x, kTop - 8}, {x, bottom}, reference ? kInk : kGrid, reference ? 1.8 : 1.2,
             reference);
    svg.text({x, bottom + 24}, percent(value), {15, kQuiet, "middle", false});
  }
  svg.text({frame.x(1), kTop - 18}, chart.reference, {15, kInk, "middle", false});
  svg.text({frame.left, bottom + 52}, chart.axis, {15, kQuiet, "start", false});
}

void draw_bar(Svg& svg, const Bar& bar, double y, const Frame& frame, const char* colour) {
  const double thick = frame.pitch * 0.62;
  const double top = y + (frame.pitch - thick) / 2;
  const double base = y + frame.pitch / 2 + 6;
  const double end = frame.x(bar.value);
  svg.bar({frame.left, top}, std::max(end - frame.left, 2.0), thick, colour);
  svg.text({frame.left - 16, base}, bar.label, {kLabelSize, kInk, "end", false});
  const std::string value = percent(bar.value);
  const bool inside = end - frame.left > 70;
  svg.text({inside ? end - 12 : end + 10, base}, value,
           {kLabelSize, inside ? "#FFFFFF" : kInk, inside ? "end" : "start", true});
  svg.text({frame.right + 28, base}, bar.note, {16, kQuiet, "start", false});
}

}  // namespace

std::string draw(const BarChart& chart) {
  const Frame frame = make_frame(chart);
  const std::vector<std::string> groups = groups_of(chart);
  Svg svg(kWidth, frame.height);
  draw_heading(svg, chart, frame);
  draw_grid(svg, chart, frame);
  for (std::size_t i = 0; i < chart.bars.size(); ++i) {
    draw_bar(svg, chart.bars[i], frame.y(i), frame, colour_of(groups, chart.bars[i].group));
  }
  return svg.finish();
}

}  // namespace rapt::bench
