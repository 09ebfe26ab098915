#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace moe::report {

/// A point of a curve, in the units of its axes.
struct PlotPoint {
  double x = 0, y = 0;
};

/// From the values of an axis to pixels.
struct Scale {
  double low = 0, high = 1;   // of the values; low < high, above 0 where `is_log`
  double begin = 0, end = 1;  // where these are [px]
  bool is_log = false;

  double at(double value) const;
};

/// A scale that holds all values, with some room where they are one. What is not finite, or not
/// above 0 on a logarithmic one, does not count.
Scale scale_over(std::span<const double> values, double begin, double end, bool is_log);

/// About `wanted` round values within the scale, ascending: multiples of 1, 2 or 5 times a power
/// of ten; at least one. Whole ones only, where `is_whole`.
std::vector<double> ticks(const Scale& scale, int wanted, bool is_whole = false);

/// For people, in at most `digits` significant digits: "0.0032", "12,500", "3e-05".
std::string short_number(double value, int digits = 4);

/// At most 2 * `buckets` + 2 of the points, in order of x: the first, the last, and of each stretch
/// of x the least and the greatest y. Points that are not finite are left out.
std::vector<PlotPoint> thinned(std::vector<PlotPoint> points, std::size_t buckets);

/// A coordinate, to a tenth of a pixel.
std::string px(double value);

}  // namespace moe::report
