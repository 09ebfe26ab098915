#include "report/run_section.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "moe/base/text.h"
#include "moe/tracking/run_facts.h"
#include "moe/tracking/run_folder.h"
#include "report/plot.h"

namespace moe::report {

namespace {

constexpr int kLossDigits = 4;              // after the point
constexpr std::size_t kLongestTable = 120;  // rows
constexpr std::size_t kMostSamples = 20;

std::string loss_text(std::optional<double> loss) {
  return loss ? fixed(*loss, kLossDigits) : std::string("–");
}

std::string step_text(double step) { return grouped(std::llround(step)); }

Markup cell(std::string_view words) { return text(words); }

std::string number_at(const Json& facts, const char* key,
                      const std::function<std::string(double)>& shown) {
  const auto found = facts.find(key);
  return found != facts.end() && found->is_number() ? shown(found->get<double>())
                                                    : std::string("–");
}

/// Rank by best loss: who is drawn in colour, and in which.
std::vector<int> colours_of(const std::vector<RunData>& runs) {
  std::vector<std::size_t> order(runs.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto loss = [&](std::size_t i) { return runs[i].best ? runs[i].best->y : INFINITY; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return loss(a) < loss(b); });
  std::vector<int> out(runs.size(), kColours);
  for (std::size_t rank = 0; rank < std::min<std::size_t>(kColours, order.size()); ++rank)
    out[order[rank]] = 0;
  int next = 0;
  for (auto& colour : out)
    if (colour == 0) colour = next++;
  return out;
}

Markup overview(const std::vector<RunData>& runs) {
  HtmlTable table{"Runs",
                  {"run", "status", "steps", "best val loss", "at step", "last val loss",
                   "last train loss", "tokens/s", "time", "device"},
                  {}};
  const auto plain = [](double value) { return step_text(value); };
  for (const auto& run : runs) {
    const auto rate = run.last("tokens_per_second");
    const auto status = run_status(run.folder, run.facts);
    table.rows.push_back(
        {cell(run.name), cell(status.empty() ? "–" : status),
         cell(number_at(run.facts, "step", plain)),
         element("strong", {}, loss_text(run.best ? std::optional(run.best->y) : std::nullopt)),
         cell(run.best ? step_text(run.best->x) : "–"), cell(loss_text(run.last("val/loss"))),
         cell(loss_text(run.last("train/loss"))), cell(rate ? short_number(*rate, 3) : "–"),
         cell(number_at(run.facts, "seconds", human_seconds)),
         cell(tracking::text_at(run.facts, "device"))});
  }
  Markup out = draw(table);
  for (const auto& run : runs)
    for (const auto& notice : run.notices)
      out += element("p", {{"class", "notice"}}, run.name, ": ", notice, ".");
  return out;
}

/// Where to have stopped, in words.
Markup verdict(const RunData& run) {
  const auto val = run.curve("val/loss");
  if (!run.best || val.size() < 2) return {};
  const auto last = val.back();
  const auto best = cat("validation loss was lowest at step ", step_text(run.best->x), ", ",
                        loss_text(run.best->y), " nats a token (perplexity ",
                        short_number(std::exp(run.best->y)), ")");
  const auto rest =
      last.x <= run.best->x
          ? std::string(" That was the last evaluation: more steps may lower it further.")
          : cat(" The ", step_text(last.x - run.best->x),
                " steps after it did not pay: stop there. The last evaluation has ",
                loss_text(last.y), ".");
  return element("p", {}, element("strong", {}, run.name), ": ", best, ".", rest);
}

/// At most kLongestTable of the evaluations, the first, the last and the best among them.
Markup evaluations_table(const RunData& run) {
  const auto val = run.curve("val/loss"), train = run.curve("train/loss");
  std::map<double, double> train_at;
  for (const auto& point : train) train_at[point.x] = point.y;
  const auto stride = (val.size() + kLongestTable - 1) / kLongestTable;
  HtmlTable table{cat("Evaluations of ", run.name,
                      stride > 1 ? cat(", every ", stride, "th and the best") : ""),
                  {"step", "val/loss", "train/loss"},
                  {}};
  for (std::size_t i = 0; i < val.size(); ++i) {
    const bool is_best = run.best && val[i].x == run.best->x;
    if (i % stride != 0 && i + 1 != val.size() && !is_best) continue;
    const auto at = train_at.find(val[i].x);
    table.rows.push_back(
        {cell(step_text(val[i].x)),
         is_best ? element("mark", {}, cat(val[i].y), " (best)") : cell(cat(val[i].y)),
         cell(at == train_at.end() ? "–" : cat(at->second))});
  }
  return draw(table);
}

Markup losses(const std::vector<RunData>& runs, const std::vector<int>& colours) {
  Plot plot{"loss", "Loss", "", {"step", false, true}, {"loss [nats/token]"}, {}};
  plot.width = 720;
  plot.height = 360;
  const bool is_alone = runs.size() == 1;
  std::string described;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto& run = runs[i];
    const auto name = [&](const char* metric) {
      return is_alone ? std::string(metric) : cat(run.name, " ", metric);
    };
    const bool is_named = colours[i] < kColours;
    if (is_alone) {
      Series steps{name("train/step_loss"), run.curve("train/step_loss"), 2};
      steps.is_faint = true;
      plot.series.push_back(std::move(steps));
    }
    Series train{name("train/loss"), run.curve("train/loss"), is_alone ? 1 : colours[i]};
    train.is_dashed = true;
    train.in_legend = is_alone;
    if (is_named) plot.series.push_back(std::move(train));
    Series val{name("val/loss"), run.curve("val/loss"), colours[i]};
    val.has_dots = true;
    val.in_legend = is_named;
    plot.series.push_back(std::move(val));
    if (!run.best || !is_named) continue;
    plot.marks.push_back(
        {*run.best,
         is_alone ? cat("best ", loss_text(run.best->y), " at step ", step_text(run.best->x)) : "",
         colours[i], is_alone});
    described += cat(run.name, ": lowest validation loss ", loss_text(run.best->y), " at step ",
                     step_text(run.best->x), ". ");
  }
  plot.description = cat("Loss over steps. ", described, "The figures stand in the tables below.");
  return draw(plot);
}

Markup losses_content(const std::vector<RunData>& runs, const std::vector<int>& colours) {
  Markup out = losses(runs, colours), tables;
  if (runs.size() > 1)
    out += element(
        "p", {{"class", "note"}}, "Solid: validation; dashed: training; rings: best.",
        runs.size() > kColours ? " The eight best runs are in colour, the others grey." : "");
  for (std::size_t i = 0; i < runs.size(); ++i)
    if (colours[i] < kColours) {
      out += verdict(runs[i]);
      tables += evaluations_table(runs[i]);
    }
  return out + folded(runs.size() > 1 ? "Tables of evaluations" : "Table of evaluations", tables);
}

struct Rate {
  const char *metric, *title, *unit;
};

Markup rates(const std::vector<RunData>& runs, const std::vector<int>& colours) {
  Markup charts;
  HtmlTable table{"Training rows: the least, the greatest and the last value of each",
                  {"run", "metric", "least", "greatest", "last"},
                  {}};
  for (const auto& [metric, title, unit] :
       {Rate{"lr", "Learning rate", "lr"}, Rate{"tokens_per_second", "Speed", "tokens/s"},
        Rate{"grad_norm", "Norm of the gradient", "grad_norm"},
        Rate{"moe/dropped_fraction", "Dropped by capacity", "fraction of slots"}}) {
    Plot plot{metric == std::string("moe/dropped_fraction") ? "dropped" : metric,
              title,
              "",
              {"step", false, true},
              {unit},
              {}};
    for (std::size_t i = 0; i < runs.size(); ++i) {
      auto points = runs[i].curve(metric);
      if (points.empty()) continue;
      const auto [least, greatest] =
          std::minmax_element(points.begin(), points.end(),
                              [](const PlotPoint& a, const PlotPoint& b) { return a.y < b.y; });
      if (colours[i] < kColours)
        table.rows.push_back({cell(runs[i].name), cell(metric), cell(short_number(least->y)),
                              cell(short_number(greatest->y)),
                              cell(short_number(points.back().y))});
      Series series{runs[i].name, std::move(points), colours[i]};
      series.in_legend = colours[i] < kColours;
      plot.series.push_back(std::move(series));
    }
    if (plot.series.empty()) continue;
    plot.description = cat(title, " over steps; the table below has its range.");
    charts += draw(plot);
  }
  if (table.rows.empty()) return element("p", {{"class", "none"}}, "No training rows.");
  return element("div", {{"class", "charts"}}, charts) + folded("Ranges as a table", draw(table));
}

Markup samples(const RunData& run) {
  Markup out;
  const auto stride = (run.samples.size() + kMostSamples - 1) / kMostSamples;
  for (std::size_t i = run.samples.size(); i-- > 0;) {
    if ((run.samples.size() - 1 - i) % stride != 0) continue;
    out += element("h4", {}, "Step ", grouped(run.samples[i].step)) +
           element("pre", {{"tabindex", "0"}}, run.samples[i].text);
  }
  return stride > 1 ? element("p", {{"class", "note"}}, "One of ", cat(stride), " is shown.") + out
                    : out;
}

Markup checkpoints(const RunData& run) {
  HtmlTable table{cat("Checkpoints of ", run.name), {"step", "val loss", "size", "", "folder"}, {}};
  for (const auto& checkpoint : run.checkpoints)
    table.rows.push_back({cell(grouped(checkpoint.step)), cell(loss_text(checkpoint.val_loss)),
                          cell(human_bytes(static_cast<double>(checkpoint.bytes))),
                          cell(checkpoint.hints), element("code", {}, checkpoint.name)});
  return draw(table);
}

Markup origin(const RunData& run) {
  HtmlTable table{cat("Where ", run.name, " comes from"), {"", ""}, {}};
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) table.rows.push_back({cell(name), element("code", {}, value)});
  };
  for (const auto* key : {"version", "commit", "libtorch", "compiler", "device", "host", "start",
                          "end", "data.path", "data.sha256"})
    add(key, tracking::text_at(run.facts, key));
  return draw(table);
}

}  // namespace

std::vector<Section> comparison(const std::vector<RunData>& runs) {
  const auto colours = colours_of(runs);
  return {{"runs", runs.size() > 1 ? "Runs" : "Run", overview(runs)},
          {"losses", "Losses", losses_content(runs, colours)},
          {"rates", "Learning rate and speed", rates(runs, colours)},
          {"config", "Config", config_tables(runs)}};
}

std::vector<Section> details(const RunData& run, const std::string& id, bool is_alone) {
  const auto titled = [&](const char* title) {
    return is_alone ? std::string(title) : cat(title, " of ", run.name);
  };
  std::vector<Section> out;
  if (auto figures = routing_figures(run, id); !figures.empty())
    out.push_back({id + "-routing", titled("Routing"), std::move(figures)});
  if (auto figures = view_figures(run, id); !figures.empty())
    out.push_back({id + "-views", titled("Views of the mixture"), std::move(figures)});
  if (!run.samples.empty()) out.push_back({id + "-samples", titled("Samples"), samples(run)});
  if (!run.checkpoints.empty())
    out.push_back({id + "-checkpoints", titled("Checkpoints"), checkpoints(run)});
  out.push_back({id + "-origin", titled("Origin"), origin(run)});
  return out;
}

}  // namespace moe::report
