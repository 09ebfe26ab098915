#include "report/sweep_section.h"

#include <algorithm>
#include <cmath>

#include "moe/base/text.h"
#include "moe/sweep/queue.h"
#include "report/sweep_plots.h"

namespace moe::report {

namespace {

using sweep::Sweep, sweep::Trial, sweep::TrialState;

constexpr std::size_t kLeaders = 20;
constexpr std::size_t kMostTrials = 2000;  // in the table of all

std::string value_text(const Json& value) {
  if (value.is_null()) return "–";
  if (value.is_number_float()) return short_number(value.get<double>());
  return value.is_string() ? value.get<std::string>() : json_text(value);
}

std::string objective_text(const std::optional<double>& value) {
  return value ? fixed(*value, std::abs(*value) < 1000 ? 4 : 0) : std::string("–");
}

/// The trial's number; a link to its own report where there is one.
Markup trial_link(const Sweep& sweep, const Trial& trial) {
  const auto from_sweep = sweep::trial_folder("", trial.number) / "report.html";
  std::error_code ignored;
  if (!fs::exists(sweep.dir / from_sweep, ignored)) return text(cat(trial.number));
  return element("a", {{"href", from_sweep.generic_string()}}, cat(trial.number));
}

std::vector<Markup> parameter_cells(const Sweep& sweep, const Trial& trial) {
  std::vector<Markup> out;
  const auto point = sweep::point_of(sweep.definition.space, trial);
  const auto values = sweep::values_of(sweep.definition.space, point);
  for (const auto& parameter : sweep.definition.space.parameters())
    out.push_back(text(value_text(values.value(parameter.key, Json()))));
  return out;
}

void add_parameter_heads(const Sweep& sweep, HtmlTable& table) {
  for (const auto& key : sweep::short_keys(sweep.definition.space)) table.heads.push_back(key);
}

Markup standing(const Sweep& sweep) {
  const auto counts = sweep::counts_of(sweep.definition, sweep.study, sweep.dir);
  const auto& settings = sweep.definition.settings;
  Markup out =
      element("p", {},
              cat(counts.ended(), " of ", counts.total, " trials have ended: ", counts.complete,
                  " complete, ", counts.pruned, " pruned, ", counts.failed, " failed; ",
                  counts.running, " running, ", counts.waiting, " waiting. "),
              "Objective: ", element("code", {}, settings.objective.metric),
              sweep.definition.minimizes() ? ", less is better." : ", more is better.");
  if (sweep.passed_over.count > 0)
    out += element("p", {{"class", "note"}}, sweep::passed_over_text(sweep.dir, sweep.passed_over),
                   ".");
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  if (board.empty()) return out + element("p", {}, "No trial is complete yet.");
  const auto& best = board.front();
  return out +
         element("p", {}, element("strong", {}, "Best: trial ", trial_link(sweep, *best.best)),
                 ", ", objective_text(best.value),
                 best.complete.size() > 1 ? cat(", the mean of ", best.complete.size(), " seeds")
                                          : std::string(),
                 ".");
}

Markup leaders(const Sweep& sweep) {
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  HtmlTable table{
      "The best points", {"rank", sweep.definition.settings.objective.metric, "trial"}, {}};
  const bool has_seeds = sweep.definition.settings.seeds > 1;
  if (has_seeds) table.heads.emplace_back("seeds");
  add_parameter_heads(sweep, table);
  for (const auto& point : board) {
    if (table.rows.size() == kLeaders) break;
    std::vector<Markup> row{text(cat(table.rows.size() + 1)), text(objective_text(point.value)),
                            trial_link(sweep, *point.best)};
    if (has_seeds) row.push_back(text(cat(point.complete.size())));
    for (auto& cell : parameter_cells(sweep, *point.best)) row.push_back(std::move(cell));
    table.rows.push_back(std::move(row));
  }
  return table.rows.empty() ? element("p", {{"class", "none"}}, "No trial is complete yet.")
                            : draw(table);
}

std::optional<double> last_reported(const Trial& trial) {
  return trial.reported.empty() ? std::nullopt : std::optional(trial.reported.rbegin()->second);
}

Markup all_trials(const Sweep& sweep) {
  HtmlTable table{"Every trial", {"trial", "state", "value", "last step"}, {}};
  add_parameter_heads(sweep, table);
  table.heads.emplace_back("reason");
  for (const auto& trial : sweep.study.trials()) {
    if (table.rows.size() == kMostTrials) break;
    const auto value = trial.value ? trial.value : last_reported(trial);
    std::vector<Markup> row{
        trial_link(sweep, trial), text(sweep::state_name(sweep::present_state(sweep.dir, trial))),
        text(objective_text(value)),
        text(trial.reported.empty() ? "–" : grouped(trial.reported.rbegin()->first))};
    for (auto& cell : parameter_cells(sweep, trial)) row.push_back(std::move(cell));
    const auto reason = trial.user("reason");
    row.push_back(text(reason.is_string() ? printable(reason.get<std::string>(), 300, Quotes::kept)
                                          : std::string()));
    table.rows.push_back(std::move(row));
  }
  const auto most = sweep.study.trials().size() > kMostTrials
                        ? element("p", {{"class", "note"}}, "The first ", cat(kMostTrials), ".")
                        : Markup();
  return folded(cat("All ", sweep.study.trials().size(), " trials"), most + draw(table));
}

Markup importance_table(const Sweep& sweep) {
  HtmlTable table{
      "Importance of each parameter, by itself", {"parameter", "share", "", "trials"}, {}};
  for (const auto& [key, share, trials] : importances(sweep)) {
    const auto bar = element(
        "span",
        {{"class", "bar"}, {"style", cat("width:", fixed(share.value_or(0) * 100, 1), "%")}});
    table.rows.push_back({element("code", {}, key),
                          text(share ? cat(fixed(*share * 100, 0), " %") : "too few trials"),
                          element("span", {{"class", "bars"}, {"aria-hidden", "true"}}, bar),
                          text(cat(trials))});
  }
  return draw(table) +
         element(
             "p", {{"class", "note"}},
             "The share of the variance of the trials' ranks that lies between the parameter's "
             "values (numbers in four groups), adjusted for their number. It sees one parameter "
             "at a time, no interactions, and of a search that dwells on good values it says "
             "less than of a random one.");
}

}  // namespace

std::vector<Section> sweep_sections(const Sweep& sweep, const std::string& id) {
  const auto parameters = parameter_plots(sweep, id);
  Markup charts;
  for (const auto& plot : parameters) charts += draw(plot);
  return {
      {id, cat("Sweep ", sweep.definition.name), standing(sweep) + draw(best_so_far(sweep, id))},
      {id + "-leaders", "Leaderboard", leaders(sweep) + all_trials(sweep)},
      {id + "-parameters", "Parameters", element("div", {{"class", "charts"}}, charts)},
      {id + "-importance", "Importance", importance_table(sweep)},
      {id + "-curves", "Curves", draw(trial_curves(sweep, id))}};
}

}  // namespace moe::report
