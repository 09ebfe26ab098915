#pragma once

#include <string>
#include <vector>

#include "report/markup.h"

namespace moe::report {

/// A grid of shares in one hue, light for little, dark for much.
struct HeatMap {
  std::string id;
  std::string title, description;
  std::string x_label;
  std::vector<std::string> columns = {}, rows = {};  // names
  std::vector<std::vector<double>> values = {};      // [row][column]; NaN: none
  double most = 1;                                   // the value of the darkest shade
  double dead_below = -1;                            // such values have a colour of their own
  double width = 480, row_height = 20;               // [px]
  bool names_every_column = false;                   // else about ten of them
};
Markup draw(const HeatMap& map);

/// What the shades mean: from 0 to `most`, as percentages; with that of dead experts where
/// `has_dead`.
Markup shades_legend(double most, bool has_dead);

/// The class of a cell: "h0" to "h9", "dead", or "" for none.
std::string shade_of(double value, double most, double dead_below);

}  // namespace moe::report
