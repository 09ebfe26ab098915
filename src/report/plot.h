#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "report/markup.h"
#include "report/scale.h"

namespace moe::report {

inline constexpr int kColours = 8;  // of series, in the style sheet; beyond them all are grey

/// One curve, or one set of points.
struct Series {
  std::string name;
  std::vector<PlotPoint> points;
  int colour = 0;  // from kColours on: grey
  bool has_line = true, is_dashed = false, is_faint = false;
  bool has_dots = false;  // with a tooltip each
  bool in_legend = true;
};

/// A point that is pointed out.
struct Mark {
  PlotPoint at;
  std::string label;
  int colour = 0;
  bool has_line = false;  // down to the axis
};

struct Axis {
  std::string label;
  bool is_log = false, is_whole = false;
  std::vector<std::pair<double, std::string>> names = {};  // in place of numbers
};

/// A chart of curves or points, and what is said of it to who can not see it.
struct Plot {
  std::string id;  // of this program's own; unique in the page
  std::string title, description;
  Axis x, y;
  std::vector<Series> series;
  std::vector<Mark> marks = {};
  double width = 480, height = 260;  // [px] before it is scaled to the page
};

/// A figure with its caption and, where it has several series, a legend. Says so where there is
/// nothing to draw.
Markup draw(const Plot& plot);

/// The frame of every chart: an <svg> that is an image with a name and a description.
Markup svg_image(const std::string& id, const std::string& title, const std::string& description,
                 double width, double height, const Markup& content);

}  // namespace moe::report
