#include "report/scale.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "moe/base/text.h"

namespace moe::report {

namespace {

constexpr double kLargest = 1e150;  // differences and squares of what is drawn stay finite

bool is_drawable(double value, bool is_log) {
  return std::isfinite(value) && std::abs(value) <= kLargest && (!is_log || value > 0);
}

/// 1, 2 or 5 times a power of ten, the nearest above `step`.
double round_step(double step) {
  const auto power = std::pow(10, std::floor(std::log10(step)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (factor * power >= step * (1 - 1e-9)) return factor * power;
  return 10 * power;
}

std::vector<double> decades(const Scale& scale, int wanted) {
  const bool is_short = scale.high / scale.low < 1000;
  const auto first = std::floor(std::log10(scale.low)), last = std::ceil(std::log10(scale.high));
  const auto stride = std::max(1.0, std::ceil((last - first) / wanted));
  std::vector<double> out;
  for (auto power = first; power <= last; power += stride)
    for (const double factor : {1.0, 2.0, 5.0}) {
      const auto value = factor * std::pow(10, power);
      const bool is_shown = factor == 1 || is_short;
      if (is_shown && value >= scale.low * (1 - 1e-9) && value <= scale.high * (1 + 1e-9))
        out.push_back(value);
    }
  return out;
}

std::vector<double> multiples(const Scale& scale, int wanted, bool is_whole) {
  auto step = round_step((scale.high - scale.low) / wanted);
  if (is_whole) step = std::max(1.0, step);
  std::vector<double> out;
  const auto first = std::ceil(scale.low / step - 1e-6);
  for (int i = 0; i <= 2 * wanted + 2; ++i) {
    const auto value = (first + i) * step;
    if (value > scale.high + step * 1e-6) break;
    out.push_back(value == 0 ? 0.0 : value);  // never "-0"
  }
  return out;
}

}  // namespace

double Scale::at(double value) const {
  const auto share = is_log ? std::log(std::max(value, low * 1e-3) / low) / std::log(high / low)
                            : (value - low) / (high - low);
  return begin + (end - begin) * std::clamp(share, -1.0, 2.0);
}

Scale scale_over(std::span<const double> values, double begin, double end, bool is_log) {
  Scale out{is_log ? 1.0 : 0.0, is_log ? 10.0 : 1.0, begin, end, is_log};
  bool is_first = true;
  for (const auto value : values) {
    if (!is_drawable(value, is_log)) continue;
    out.low = is_first ? value : std::min(out.low, value);
    out.high = is_first ? value : std::max(out.high, value);
    is_first = false;
  }
  const auto size = std::max(std::abs(out.low), std::abs(out.high));
  if (is_log && out.high / out.low < 1.0001) {
    out.low /= 2;
    out.high *= 2;
  } else if (!is_log && out.high - out.low <= size * 1e-9) {
    const auto room = size == 0 ? 1.0 : size * 0.1;
    out.low -= room;
    out.high += room;
  }
  return out;
}

std::vector<double> ticks(const Scale& scale, int wanted, bool is_whole) {
  auto out = scale.is_log ? decades(scale, wanted) : multiples(scale, wanted, is_whole);
  if (scale.is_log && out.size() < 2) out = multiples(scale, wanted, is_whole);
  if (out.empty()) out.push_back(scale.low);
  return out;
}

std::string short_number(double value, int digits) {
  if (!std::isfinite(value)) return std::isnan(value) ? "not a number" : "infinite";
  const auto size = std::abs(value);
  if (size >= 1000 && size < 1e15) return grouped(std::llround(value));
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.*g", digits, value);
  return buffer.data();
}

std::vector<PlotPoint> thinned(std::vector<PlotPoint> points, std::size_t buckets) {
  std::erase_if(points, [](const PlotPoint& point) {
    return !is_drawable(point.x, false) || !is_drawable(point.y, false);
  });
  const auto by_x = [](const PlotPoint& a, const PlotPoint& b) { return a.x < b.x; };
  if (!std::is_sorted(points.begin(), points.end(), by_x))
    std::stable_sort(points.begin(), points.end(), by_x);
  if (points.size() <= 2 * buckets + 2) return points;
  const auto begin = points.front().x, width = points.back().x - begin;
  const auto bucket_of = [&](const PlotPoint& point) {
    if (width <= 0) return std::size_t{0};
    const auto place = (point.x - begin) / width * static_cast<double>(buckets);
    return std::min(buckets - 1, static_cast<std::size_t>(place));
  };
  std::vector<PlotPoint> out{points.front()};
  for (std::size_t i = 1; i + 1 < points.size();) {
    auto least = i, greatest = i;
    const auto bucket = bucket_of(points[i]);
    for (; i + 1 < points.size() && bucket_of(points[i]) == bucket; ++i) {
      if (points[i].y < points[least].y) least = i;
      if (points[i].y > points[greatest].y) greatest = i;
    }
    out.push_back(points[std::min(least, greatest)]);
    if (least != greatest) out.push_back(points[std::max(least, greatest)]);
  }
  out.push_back(points.back());
  return out;
}

std::string px(double value) { return cat(std::round(value * 10) / 10 + 0.0); }

}  // namespace moe::report
