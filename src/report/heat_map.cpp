#include "report/heat_map.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "moe/base/text.h"
#include "report/plot.h"

namespace moe::report {

namespace {

constexpr int kShades = 10;
constexpr double kTop = 4, kBottom = 42, kColumnLabels = 10;

/// Where the cells of a heat map lie.
struct CellGrid {
  double left, width, column, row;  // [px]
};

CellGrid grid_of(const HeatMap& map) {
  std::size_t longest = 1;
  for (const auto& name : map.rows) longest = std::max(longest, name.size());
  const auto left = 12 + 6.6 * static_cast<double>(longest);
  const auto width = map.width - left - 18;
  const auto columns = std::max<std::size_t>(1, map.columns.size());
  return {left, width, width / static_cast<double>(columns), map.row_height};
}

/// All cells of one shade are one path: a rectangle takes a dozen bytes.
Markup cells(const HeatMap& map, const CellGrid& grid) {
  std::map<std::string, std::string> paths;
  const auto height = px(grid.row - 1);
  for (std::size_t row = 0; row < map.values.size(); ++row)
    for (std::size_t i = 0; i < map.values[row].size(); ++i) {
      const auto shade = shade_of(map.values[row][i], map.most, map.dead_below);
      if (shade.empty()) continue;
      const auto x = grid.left + grid.column * static_cast<double>(i);
      paths[shade] += cat("M", px(x), " ", px(kTop + grid.row * static_cast<double>(row)), "h",
                          px(grid.column), "v", height, "h-", px(grid.column), "z");
    }
  Markup out;
  for (const auto& [shade, path] : paths) out += shape("path", {{"class", shade}, {"d", path}});
  return out;
}

Markup words(const char* classes, const char* anchor, double x, double y, std::string_view text) {
  return element("text", {{"class", classes}, {"text-anchor", anchor}, {"x", px(x)}, {"y", px(y)}},
                 text);
}

Markup names(const HeatMap& map, const CellGrid& grid) {
  Markup out;
  const auto floor = kTop + grid.row * static_cast<double>(map.rows.size());
  for (std::size_t row = 0; row < map.rows.size(); ++row)
    out += words("tick", "end", grid.left - 6,
                 kTop + grid.row * (static_cast<double>(row) + 0.5) + 4, map.rows[row]);
  const auto stride =
      map.names_every_column
          ? std::size_t{1}
          : std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(
                                         static_cast<double>(map.columns.size()) / kColumnLabels)));
  for (std::size_t i = 0; i < map.columns.size(); i += stride)
    out += words("tick", "middle", grid.left + grid.column * (static_cast<double>(i) + 0.5),
                 floor + 14, map.columns[i]);
  return out + words("name", "middle", grid.left + grid.width / 2, floor + 34, map.x_label);
}

}  // namespace

std::string shade_of(double value, double most, double dead_below) {
  if (!std::isfinite(value)) return "";
  if (value < dead_below) return "dead";
  const auto share = most > 0 ? std::clamp(value / most, 0.0, 1.0) : 0.0;
  return cat("h", std::min(kShades - 1, static_cast<int>(share * kShades)));
}

Markup draw(const HeatMap& map) {
  const auto grid = grid_of(map);
  const auto height = kTop + grid.row * static_cast<double>(map.rows.size()) + kBottom;
  return element("figure", {{"class", map.width > 600 ? "wide" : ""}},
                 element("figcaption", {}, map.title),
                 svg_image(map.id, map.title, map.description, map.width, height,
                           cells(map, grid) + names(map, grid)));
}

Markup shades_legend(double most, bool has_dead) {
  Markup out;
  const auto swatch = [](const std::string& shade) {
    return element("svg", {{"class", "swatch"}, {"viewBox", "0 0 12 12"}, {"aria-hidden", "true"}},
                   shape("rect", {{"class", shade}, {"width", "12"}, {"height", "12"}}));
  };
  for (int shade = 0; shade < kShades; ++shade) out += swatch(cat("h", shade));
  auto line = element("span", {}, "0 % ", out, " ", fixed(most * 100, 0), " %");
  if (has_dead)
    line += element("span", {}, swatch("dead"), " dead: less than 1 % of the even share");
  return element("p", {{"class", "shades"}}, line);
}

}  // namespace moe::report
