#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <optional>

#include "moe/base/text.h"
#include "report/heat_map.h"
#include "report/plot.h"
#include "report/run_section.h"

namespace moe::report {

namespace {

// inspect/*.json are files that may hold anything: what is not as expected is left out.

constexpr std::size_t kViewLayers = 64, kViewExperts = 256, kViewStages = 80, kViewClasses = 16;
constexpr int kViewDigits = 4;
constexpr double kNoFigure = std::numeric_limits<double>::quiet_NaN();

const Json& member(const Json& object, const char* key) {
  static const Json nothing;
  if (!object.is_object()) return nothing;
  const auto found = object.find(key);
  return found == object.end() ? nothing : *found;
}
double number_of(const Json& value) { return value.is_number() ? value.get<double>() : kNoFigure; }
double number_in(const Json& object, const char* key) { return number_of(member(object, key)); }

/// At most `most` members of a list; none of what is no list.
std::vector<const Json*> list_in(const Json& object, const char* key, std::size_t most) {
  std::vector<const Json*> out;
  const auto& list = member(object, key);
  if (!list.is_array()) return out;
  for (const auto& item : list)
    if (out.size() < most) out.push_back(&item);
  return out;
}
std::vector<double> numbers_in(const Json& object, const char* key) {
  std::vector<double> out;
  for (const auto* item : list_in(object, key, kViewExperts)) out.push_back(number_of(*item));
  return out;
}

std::string decimal(double value, int digits) {
  return std::isfinite(value) ? fixed(value, digits) : std::string("–");
}
std::string change_text(double value) {
  return std::isfinite(value) && value >= 0 ? "+" + decimal(value, kViewDigits)
                                            : decimal(value, kViewDigits);
}
std::string share_text(double share) {
  return std::isfinite(share) ? cat(fixed(100 * share, 1), " %") : std::string("–");
}

/// Cells shaded by their value, 0 to the largest, a column for each of (columns).
struct Shaded {
  std::string caption, corner;
  std::vector<std::string> rows = {}, columns = {};
  std::vector<std::vector<double>> values = {};  // (columns)(rows)
  std::function<std::string(double)> shown = {};
};
Markup draw(const Shaded& grid) {
  double most = 0;
  for (const auto& column : grid.values)
    for (const auto value : column)
      if (std::isfinite(value)) most = std::max(most, value);
  HtmlTable table{grid.caption, {grid.corner}, {}, "loads"};
  table.heads.insert(table.heads.end(), grid.columns.begin(), grid.columns.end());
  for (std::size_t i = 0; i < grid.rows.size(); ++i) {
    std::vector<Markup> row{text(grid.rows[i])};
    for (const auto& column : grid.values) {
      const auto value = i < column.size() ? column[i] : kNoFigure;
      row.push_back(element("span", {{"class", "load " + shade_of(value, most, -1)}},
                            grid.shown(std::isfinite(value) ? value : kNoFigure)));
    }
    table.rows.push_back(std::move(row));
  }
  return draw(table);
}

/// A row an expert, a column a layer, of the lists under `key`; empty where there are none.
Markup expert_table(const Json& view, const char* key, const std::string& caption,
                    const std::function<std::string(double)>& shown) {
  Shaded grid{caption, "expert"};
  grid.shown = shown;
  std::size_t experts = 0;
  for (const auto* layer : list_in(view, "layers", kViewLayers)) {
    grid.columns.push_back(cat("layer ", grid.columns.size()));
    grid.values.push_back(numbers_in(*layer, key));
    experts = std::max(experts, grid.values.back().size());
  }
  for (std::size_t e = 0; e < experts; ++e) grid.rows.push_back(cat(e));
  return experts > 0 ? draw(grid) : Markup();
}

/// Which weights and text a view is of.
Markup headed(const char* title, const Json& view, const Markup& content) {
  if (content.empty()) return {};
  const auto step = number_in(view, "step"), windows = number_in(view, "windows");
  const auto& split = member(view, "split");
  const auto where =
      cat("Step ", std::isfinite(step) ? grouped(std::llround(step)) : std::string("–"),
          split.is_string() ? cat(", split ", split.get<std::string>()) : std::string(),
          std::isfinite(windows) ? cat(", ", grouped(std::llround(windows)), " windows") : "", ".");
  return element("h4", {}, title) + element("p", {{"class", "note"}}, where) + content;
}

/// "newline +0.12": the class of targets that loses most; `rises` has a value for each class.
std::string worst_class(const Json& rises, const std::vector<const Json*>& classes) {
  std::string out = "–";
  double most = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < classes.size() && rises.is_array() && i < rises.size(); ++i) {
    const auto rise = number_of(rises[i]);
    const auto& name = member(*classes[i], "class");
    if (!(rise > most) || !name.is_string()) continue;
    most = rise;
    out = cat(name.get<std::string>(), " ", change_text(rise));
  }
  return out;
}

/// A row an expert, a column a layer; empty for views from before classes were told apart.
Markup worst_classes(const Json& view) {
  const auto classes = list_in(view, "classes", kViewClasses);
  const auto layers = list_in(view, "layers", kViewLayers);
  if (classes.empty()) return {};
  HtmlTable table{
      "The kind of target that loses most [nats/token] where an expert can not be chosen",
      {"expert"},
      {}};
  std::vector<std::vector<const Json*>> experts;
  std::size_t most = 0;
  for (const auto* layer : layers) {
    table.heads.push_back(cat("layer ", experts.size()));
    experts.push_back(list_in(*layer, "masked_by_class", kViewExperts));
    most = std::max(most, experts.back().size());
  }
  for (std::size_t e = 0; e < most; ++e) {
    std::vector<Markup> row{text(cat(e))};
    for (const auto& column : experts)
      row.push_back(text(e < column.size() ? worst_class(*column[e], classes) : "–"));
    table.rows.push_back(std::move(row));
  }
  return most > 0 ? draw(table) : Markup();
}

Markup ablation(const Json& file) {
  const auto& view = member(file, "ablation");
  return expert_table(view, "masked",
                      "Rise of the loss [nats/token] where an expert can not be chosen and the "
                      "next best takes over",
                      change_text) +
         expert_table(view, "zeroed",
                      "Rise of the loss [nats/token] where an expert is chosen as ever and answers "
                      "nothing",
                      change_text) +
         worst_classes(view);
}

Markup information(const Json& file) {
  Shaded grid{
      "How much of a token's first choice follows from what stands left, as a share of the "
      "choice's entropy",
      "known"};
  grid.rows = {"its symbol", "the one before", "the next, its target", "place in the window"};
  grid.shown = share_text;
  for (const auto* layer : list_in(member(file, "information"), "layers", kViewLayers)) {
    grid.columns.push_back(cat("layer ", grid.columns.size()));
    auto& column = grid.values.emplace_back();
    for (const auto* key : {"symbol", "previous", "next", "position"})
      column.push_back(number_in(member(*layer, key), "share"));
  }
  return grid.values.empty() ? Markup() : draw(grid);
}

Markup depth(const Json& file, const std::string& id) {
  const auto& view = member(file, "depth");
  const auto layers = list_in(view, "layers", kViewLayers);
  if (layers.empty()) return {};
  Plot plot{id + "-depth", "Loss by depth", "", {"layers"}, {"loss [nats/token]"}, {}};
  HtmlTable table{
      "Loss by what the final norm and the head make of each layer, and what attention "
      "and mixture take away [nats/token]",
      {"layer", "loss", "attention", "mixture"},
      {}};
  Series series{"loss", {}, 0};
  series.has_dots = true;
  const auto add = [&](double x, double y) {
    if (std::isfinite(y)) series.points.push_back({x, y});
  };
  add(0, number_in(view, "embedding"));
  for (std::size_t l = 0; l < layers.size(); ++l) {
    const auto loss = number_in(*layers[l], "mixture");
    add(static_cast<double>(l) + 0.5, number_in(*layers[l], "attention"));
    add(static_cast<double>(l) + 1, loss);
    table.rows.push_back({text(cat(l)), text(decimal(loss, kViewDigits)),
                          text(change_text(number_in(*layers[l], "attention_gain"))),
                          text(change_text(number_in(*layers[l], "mixture_gain")))});
  }
  plot.series.push_back(std::move(series));
  plot.description =
      "Loss after the embedding and after attention and mixture of each layer; the "
      "table below has the figures.";
  return draw(plot) + draw(table);
}

Markup top_k_sweep(const Json& file, const std::string& id) {
  const auto& view = member(file, "top_k_sweep");
  const auto losses = numbers_in(view, "losses");
  if (losses.empty()) return {};
  Plot plot{id + "-top-k",
            "Loss by experts for each token",
            "",
            {"experts", false, true},
            {"loss [nats/token]"},
            {}};
  HtmlTable table{"Loss with so many experts for each token [nats/token]", {"experts", "loss"}, {}};
  Series series{"loss", {}, 0};
  series.has_dots = true;
  const auto own = number_in(view, "top_k");
  for (std::size_t i = 0; i < losses.size(); ++i) {
    const auto k = static_cast<double>(i + 1);
    table.rows.push_back(
        {text(cat(i + 1, k == own ? " (trained)" : "")), text(decimal(losses[i], kViewDigits))});
    if (!std::isfinite(losses[i])) continue;
    series.points.push_back({k, losses[i]});
    if (k == own) plot.marks.push_back({{k, losses[i]}, "trained", 0, false});
  }
  plot.series.push_back(std::move(series));
  plot.description = "Loss over the number of experts; the table below has the figures.";
  return draw(plot) + draw(table);
}

Markup similarity(const Json& file) {
  const auto& view = member(file, "similarity");
  return expert_table(view, "reap", "REAP score of each expert: the mean of gate times length",
                      [](double value) { return decimal(value, 3); }) +
         expert_table(view, "output_norm", "Length of each expert's answer, mean over its tokens",
                      [](double value) { return decimal(value, 3); });
}

Markup saturation(const Json& file, const std::string& id) {
  const auto stages = list_in(member(file, "saturation"), "checkpoints", kViewStages);
  if (stages.empty()) return {};
  Plot plot{
      id + "-saturation", "Choices that stay to the end", "", {"step", false, true}, {"share"}, {}};
  HtmlTable table{
      "Share of a token's experts that it keeps to the newest checkpoint", {"step"}, {}};
  const auto layers = list_in(*stages.front(), "layers", kViewLayers).size();
  for (std::size_t l = 0; l < layers; ++l) {
    Series series{cat("layer ", l), {}, static_cast<int>(l)};
    series.has_dots = true;
    plot.series.push_back(std::move(series));
    table.heads.push_back(cat("layer ", l));
  }
  for (const auto* stage : stages) {
    const auto step = number_in(*stage, "step");
    if (!std::isfinite(step)) continue;
    const auto row = list_in(*stage, "layers", layers);
    std::vector<Markup> cells{text(grouped(std::llround(step)))};
    for (std::size_t l = 0; l < layers; ++l) {
      const auto kept = l < row.size() ? number_in(*row[l], "kept") : kNoFigure;
      cells.push_back(text(share_text(kept)));
      if (std::isfinite(kept)) plot.series[l].points.push_back({step, kept});
    }
    table.rows.push_back(std::move(cells));
  }
  plot.description =
      "Share of a token's experts that it keeps to the newest checkpoint, over the "
      "steps of the checkpoints; the table below has the figures.";
  return draw(plot) + draw(table);
}

}  // namespace

Markup view_figures(const RunData& run, const std::string& id) {
  const auto file = [&](const char* key) -> const Json& { return member(run.views, key); };
  return headed("Loss without an expert", file("ablation"), ablation(file("ablation"))) +
         headed("What a choice follows from", file("information"),
                information(file("information"))) +
         headed("Loss by depth", file("depth"), depth(file("depth"), id)) +
         headed("Loss by number of experts", file("top_k_sweep"),
                top_k_sweep(file("top_k_sweep"), id)) +
         headed("What each expert does", file("similarity"), similarity(file("similarity"))) +
         headed("Saturation of the routing", file("saturation"),
                saturation(file("saturation"), id));
}

}  // namespace moe::report
