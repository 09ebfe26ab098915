#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "moe/base/text.h"
#include "report/heat_map.h"
#include "report/plot.h"
#include "report/run_section.h"

namespace moe::report {

namespace {

constexpr std::size_t kMostTimes = 80;    // of a heat map over time
constexpr std::size_t kMostSymbols = 80;  // of a symbol map
constexpr std::size_t kMostLayers = 64;
constexpr std::size_t kMostExperts = 256;
constexpr std::size_t kTellingSymbols = 8;
constexpr double kDeadShare = 0.01;  // of the even share, as docs/metrics.md counts them

/// One layer's loads over time: a list of shares at each step.
struct LoadHistory {
  std::size_t layer = 0;
  std::vector<std::int64_t> steps;
  std::vector<std::vector<double>> loads;  // [step][expert]
};

LoadHistory history_of(const RunData& run, std::size_t layer) {
  const auto name = cat("moe/layer", layer, "/load");
  LoadHistory out{layer, {}, {}};
  for (const auto& row : run.rows)
    for (const auto& vector : row.vectors)
      if (vector.name == name && !vector.values.empty() && vector.values.size() <= kMostExperts &&
          (out.loads.empty() || vector.values.size() == out.loads.front().size())) {
        out.steps.push_back(row.step);
        out.loads.push_back(vector.values);
      }
  return out;
}

/// Of the layers that have one: some may have no router.
std::vector<LoadHistory> histories_of(const RunData& run) {
  std::vector<LoadHistory> out;
  for (std::size_t layer = 0; layer < kMostLayers; ++layer) {
    auto history = history_of(run, layer);
    if (!history.steps.empty()) out.push_back(std::move(history));
  }
  return out;
}

/// The last of each stretch of evaluations, so that the newest is always there.
LoadHistory thinned(const LoadHistory& all) {
  const auto stride = (all.steps.size() + kMostTimes - 1) / kMostTimes;
  LoadHistory out{all.layer, {}, {}};
  for (std::size_t i = 0; i < all.steps.size(); ++i) {
    if ((all.steps.size() - 1 - i) % stride != 0) continue;
    out.steps.push_back(all.steps[i]);
    out.loads.push_back(all.loads[i]);
  }
  return out;
}

std::string percent(double share) { return cat(fixed(share * 100, 1), " %"); }

HeatMap map_over_time(const LoadHistory& all, const std::string& id, double most) {
  const auto history = thinned(all);
  const auto layer = all.layer;
  const auto experts = history.loads.front().size();
  HeatMap map{cat(id, "-load-", layer), cat("Layer ", layer, ": load of each expert"), "", "step"};
  for (const auto step : history.steps) map.columns.push_back(grouped(step));
  for (std::size_t expert = 0; expert < experts; ++expert) {
    map.rows.push_back(cat(expert));
    std::vector<double> values;
    for (const auto& load : history.loads) values.push_back(load[expert]);
    map.values.push_back(std::move(values));
  }
  map.most = most;
  map.dead_below = kDeadShare / static_cast<double>(experts);
  map.row_height = experts > 16 ? 10 : 20;
  const auto& last = history.loads.back();
  const auto [least, greatest] = std::minmax_element(last.begin(), last.end());
  map.description = cat("Share of the choices by expert and step. At step ", history.steps.back(),
                        " expert ", greatest - last.begin(), " has the most, ", percent(*greatest),
                        ", expert ", least - last.begin(), " the least, ", percent(*least), ".");
  return map;
}

/// The shares of the gates in a layer at the step of its newest load; empty where none were
/// written.
std::vector<double> final_mass(const RunData& run, const LoadHistory& history) {
  const auto name = cat("moe/layer", history.layer, "/gate_mass");
  for (auto row = run.rows.rbegin(); row != run.rows.rend(); ++row)
    for (const auto& vector : row->vectors)
      if (vector.name == name && row->step == history.steps.back() &&
          vector.values.size() == history.loads.back().size())
        return vector.values;
  return {};
}

/// The loads of the newest evaluation: a table whose cells are shaded as the maps are.
Markup final_loads(const RunData& run, const std::vector<LoadHistory>& layers, double most) {
  std::size_t experts = 0;
  for (const auto& layer : layers) experts = std::max(experts, layer.loads.back().size());
  HtmlTable table{cat("Load of each expert at step ", grouped(layers.front().steps.back()),
                      "; an even share is ", percent(1.0 / static_cast<double>(experts)),
                      "; in brackets the expert's share of the gates"),
                  {"expert"},
                  {},
                  "loads"};
  std::vector<std::vector<double>> masses;
  for (const auto& history : layers) {
    table.heads.push_back(cat("layer ", history.layer));
    masses.push_back(final_mass(run, history));
  }
  for (std::size_t expert = 0; expert < experts; ++expert) {
    std::vector<Markup> row{text(cat(expert))};
    for (std::size_t layer = 0; layer < layers.size(); ++layer) {
      const auto& loads = layers[layer].loads.back();
      if (expert >= loads.size()) {
        row.push_back(text("–"));
        continue;
      }
      const auto dead = kDeadShare / static_cast<double>(loads.size());
      const auto mass =
          masses[layer].empty() ? std::string() : cat(" (", percent(masses[layer][expert]), ")");
      row.push_back(element("span", {{"class", "load " + shade_of(loads[expert], most, dead)}},
                            percent(loads[expert]), loads[expert] < dead ? " dead" : "") +
                    text(mass));
    }
    table.rows.push_back(std::move(row));
  }
  return draw(table);
}

Markup load_figures(const RunData& run, const std::string& id) {
  const auto layers = histories_of(run);
  if (layers.empty()) return {};
  double most = 0;
  bool has_dead = false;
  for (const auto& layer : layers)
    for (const auto& loads : layer.loads)
      for (const auto load : loads) {
        most = std::max(most, load);
        has_dead = has_dead || load < kDeadShare / static_cast<double>(loads.size());
      }
  Markup maps;
  for (const auto& history : layers) maps += draw(map_over_time(history, id, most));
  return element("h4", {}, "Load over time") + shades_legend(most, has_dead) +
         element("div", {{"class", "charts"}}, maps) + element("h4", {}, "Final load") +
         final_loads(run, layers, most);
}

Markup health_charts(const RunData& run, const std::string& id) {
  Markup charts;
  struct Figure {
    const char *name, *title, *axis;
  };
  for (const auto& [name, title, axis] :
       {Figure{"max_vio", "MaxVio of the load (0: even)", "largest over mean, minus 1"},
        Figure{"load_entropy", "Entropy of the load (1: even)", "over ln E"},
        Figure{"router_entropy", "Entropy of the router", "nats"},
        Figure{"dead_experts", "Dead experts", "experts"}}) {
    Plot plot{cat(id, "-", name), title, "", {"step", false, true}, {axis}, {}};
    for (std::size_t layer = 0; layer < kMostLayers; ++layer) {
      auto points = run.curve(cat("moe/layer", layer, "/", name));
      if (points.empty()) continue;
      plot.series.push_back({cat("layer ", layer), std::move(points), static_cast<int>(layer)});
    }
    if (plot.series.empty()) continue;
    plot.y.is_whole = name == std::string("dead_experts");
    plot.description = cat(title, " of each layer over steps.");
    charts += draw(plot);
  }
  if (charts.empty()) return {};
  return element("h4", {}, "Health") + element("div", {{"class", "charts"}}, charts);
}

// ---- which symbols each expert serves, from routing.json: a file that may hold anything

using Map = std::vector<std::vector<double>>;  // [expert][symbol]

/// The counts under "symbol_map"; empty where they are no table of numbers, `symbols` wide.
Map map_of(const Json& layer, std::size_t symbols) {
  const auto found = layer.is_object() ? layer.find("symbol_map") : layer.end();
  if (!layer.is_object() || found == layer.end() || !found->is_array()) return {};
  Map out;
  for (const auto& row : *found) {
    const bool is_sound =
        row.is_array() && row.size() == symbols && out.size() < kMostExperts &&
        std::all_of(row.begin(), row.end(), [](const Json& n) { return n.is_number(); });
    if (!is_sound) return {};
    out.push_back(row.get<std::vector<double>>());
  }
  return out;
}

std::string symbol_name(const std::string& symbol) {
  if (symbol == " ") return "␣";
  if (symbol == "\n") return "↵";
  if (symbol == "\t") return "⇥";
  return symbol;
}

/// How often each symbol chose any expert.
std::vector<double> totals_of(const Map& map) {
  std::vector<double> totals(map.front().size(), 0);
  for (const auto& row : map)
    for (std::size_t i = 0; i < row.size(); ++i) totals[i] += row[i];
  return totals;
}

/// The most frequent symbols that occur at all, in their order.
std::vector<std::size_t> shown_symbols(const std::vector<double>& totals) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < totals.size(); ++i)
    if (totals[i] > 0) out.push_back(i);
  if (out.size() <= kMostSymbols) return out;
  std::stable_sort(out.begin(), out.end(),
                   [&](std::size_t a, std::size_t b) { return totals[a] > totals[b]; });
  out.resize(kMostSymbols);
  std::sort(out.begin(), out.end());
  return out;
}

Markup symbol_heat_map(const Map& map, const std::vector<double>& totals,
                       const std::vector<std::string>& symbols, const std::string& id,
                       std::size_t layer) {
  HeatMap heat{cat(id, "-symbols-", layer), cat("Layer ", layer, ": where each symbol goes"),
               "For each symbol the share of its choices that each expert gets; the table below "
               "names each expert's own.",
               "symbol"};
  const auto shown = shown_symbols(totals);
  for (const auto i : shown) heat.columns.push_back(symbol_name(symbols[i]));
  for (std::size_t expert = 0; expert < map.size(); ++expert) {
    heat.rows.push_back(cat(expert));
    std::vector<double> values;
    values.reserve(shown.size());
    for (const auto i : shown) values.push_back(map[expert][i] / totals[i]);
    heat.values.push_back(std::move(values));
  }
  heat.width = 900;
  heat.row_height = map.size() > 16 ? 10 : 16;
  heat.names_every_column = true;
  return draw(heat);
}

/// How often the symbols that are not listed chose each expert: 0 where the file does not say.
std::vector<double> others_of(const Json& layer, std::size_t experts) {
  const auto found = layer.find("other_symbols");
  const bool is_sound =
      found != layer.end() && found->is_array() && found->size() == experts &&
      std::all_of(found->begin(), found->end(), [](const Json& n) { return n.is_number(); });
  return is_sound ? found->get<std::vector<double>>() : std::vector<double>(experts, 0);
}

/// Symbols of which the expert has more than its share, by how many more.
std::string telling(const Map& map, const std::vector<double>& totals,
                    const std::vector<double>& others, std::size_t expert,
                    const std::vector<std::string>& symbols) {
  double all = std::accumulate(others.begin(), others.end(), 0.0), own = others[expert];
  for (std::size_t i = 0; i < totals.size(); ++i) {
    all += totals[i];
    own += map[expert][i];
  }
  std::vector<std::pair<double, std::size_t>> surplus;
  for (std::size_t i = 0; i < totals.size(); ++i)
    if (const auto more = map[expert][i] - totals[i] * own / all; more > 0)
      surplus.emplace_back(-more, i);
  std::stable_sort(surplus.begin(), surplus.end());
  std::vector<std::string> names;
  for (const auto& [more, i] : surplus)
    if (names.size() < kTellingSymbols) names.push_back(symbol_name(symbols[i]));
  return join(names, " ");
}

Markup symbol_figures(const RunData& run, const std::string& id) {
  const auto symbols_json = run.routing.find("symbols"), layers = run.routing.find("layers");
  if (symbols_json == run.routing.end() || !symbols_json->is_array() ||
      layers == run.routing.end() || !layers->is_array())
    return {};
  std::vector<std::string> symbols;
  for (const auto& symbol : *symbols_json)
    symbols.push_back(symbol.is_string() ? symbol.get<std::string>() : "?");
  Markup maps;
  HtmlTable table{"Symbols of which each expert gets more than its share", {"expert"}, {}};
  for (std::size_t layer = 0; layer < std::min(layers->size(), kMostLayers); ++layer) {
    const auto map = map_of((*layers)[layer], symbols.size());
    if (map.empty()) continue;
    const auto totals = totals_of(map);
    const auto others = others_of((*layers)[layer], map.size());
    if (shown_symbols(totals).empty()) continue;
    maps += symbol_heat_map(map, totals, symbols, id, layer);
    table.heads.push_back(cat("layer ", layer));
    for (std::size_t expert = 0; expert < map.size(); ++expert) {
      if (table.rows.size() <= expert) table.rows.push_back({text(cat(expert))});
      table.rows[expert].push_back(
          element("code", {}, telling(map, totals, others, expert, symbols)));
    }
  }
  if (maps.empty()) return {};
  return element("h4", {}, "Experts and symbols") + shades_legend(1, /*has_dead=*/false) + maps +
         draw(table);
}

}  // namespace

Markup routing_figures(const RunData& run, const std::string& id) {
  return load_figures(run, id) + health_charts(run, id) + symbol_figures(run, id);
}

}  // namespace moe::report
