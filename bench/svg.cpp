// SPDX-License-Identifier: Apache-2.0 OR MIT
// SVG elements as text.
#include "bench/svg.h"

#include "bench/text.h"

namespace rapt::bench {
namespace {

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '&') {
      safe += "&amp;";
    } else if (c == '<') {
      safe += "&lt;";
    } else if (c == '"') {
      safe += "&quot;";
    } else if (static_cast<unsigned char>(c) >= ' ') {
      safe += c;
    }
  }
  return safe;
}

std::string attribute(const char* name, double value) {
  return std::string(" ") + name + "=\"" + decimals(value, 2) + "\"";
}

std::string attribute(const char* name, const std::string& value) {
  return std::string(" ") + name + "=\"" + escaped(value) + "\"";
}

}  // namespace

Svg::Svg(double width, double height) {
  body_ = "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + decimals(width, 0) + " " +
          decimals(height, 0) + "\"" + attribute("width", width) + attribute("height", height) +
          " font-family=\"Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\">\n";
  body_ += "<rect width=\"100%\" height=\"100%\" fill=\"#FFFFFF\"/>\n";
}

void Svg::text(Point at, const std::string& words, const TextStyle& style) {
  body_ += "<text" + attribute("x", at.x) + attribute("y", at.y) +
           attribute("font-size", style.size) + attribute("fill", style.colour) +
           attribute("text-anchor", style.anchor) + (style.bold ? " font-weight=\"600\"" : "") +
           ">" + escaped(words) + "</text>\n";
}

void Svg::line(Point from, Point to, const char* colour, double width, bool dashed) {
  body_ += "<line" + attribute("x1", from.x) + attribute("y1", from.y) + attribute("x2", to.x) +
           attribute("y2", to.y) + attribute("stroke", colour) + attribute("stroke-width", width) +
           (dashed ? " stroke-dasharray=\"6 5\"" : "") + "/>\n";
}

void Svg::bar(Point corner, double width, double height, const char* colour) {
  body_ += "<rect" + attribute("x", corner.x) + attribute("y", corner.y) +
           attribute("width", width) + attribute("height", height) + attribute("fill", colour) +
           " rx=\"3\"/>\n";
}

void Svg::curve(const std::vector<Point>& points, const char* colour) {
  std::string places;
  for (const Point& p : points) places += decimals(p.x, 2) + "," + decimals(p.y, 2) + " ";
  body_ += "<polyline" + attribute("points", places) + attribute("stroke", colour) +
           " fill=\"none\" stroke-width=\"3.5\" stroke-linejoin=\"round\" "
           "stroke-linecap=\"round\"/>\n";
}

void Svg::dot(Point at, const char* colour) {
  body_ += "<circle" + attribute("cx", at.x) + attribute("cy", at.y) + " r=\"5.5\"" +
           attribute("fill", colour) + " stroke=\"#FFFFFF\" stroke-width=\"2\"/>\n";
}

std::string Svg::finish() const { return body_ + "</svg>\n"; }

}  // namespace rapt::bench
