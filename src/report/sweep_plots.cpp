#include "report/sweep_plots.h"

#include <algorithm>
#include <cmath>

#include "moe/base/text.h"
#include "moe/sweep/queue.h"
#include "report/importance.h"

namespace moe::report {

namespace {

using sweep::Parameter, sweep::Sweep, sweep::Trial, sweep::TrialState;

constexpr std::size_t kMostCurves = 400;
constexpr std::size_t kCurveBuckets = 30;
constexpr int kBlue = 0, kOrange = 1;

/// Its value, else what it reported last; nullopt in another state, and for what is not finite,
/// which a journal may hold.
std::optional<double> result_of(const Trial& trial, TrialState state) {
  if (trial.state != state) return std::nullopt;
  auto value = trial.value;
  if (!value && !trial.reported.empty()) value = trial.reported.rbegin()->second;
  return value && std::isfinite(*value) ? value : std::nullopt;
}

/// Points spread a little around a choice, the same way each time, so that none hides another.
double spread(const Trial& trial) {
  constexpr double kGolden = 0.6180339887498949;
  const auto turn = static_cast<double>(trial.number) * kGolden;
  return (turn - static_cast<double>(static_cast<std::int64_t>(turn)) - 0.5) * 0.5;
}

Series points_of(const Sweep& sweep, const Parameter& parameter, TrialState state,
                 const std::string& name, int colour) {
  Series series{name, {}, colour};
  series.has_line = false;
  series.is_faint = state == TrialState::pruned;
  for (const auto& trial : sweep.study.trials()) {
    const auto point = sweep::point_of(sweep.definition.space, trial);
    const auto at = point.find(parameter.key);
    const auto result = result_of(trial, state);
    if (at == point.end() || !result) continue;
    const auto aside = parameter.kind == Parameter::Kind::choices ? spread(trial) : 0.0;
    series.points.push_back({at->second + aside, *result});
  }
  return series;
}

std::string choice_name(const Json& choice) {
  return choice.is_string() ? choice.get<std::string>() : json_text(choice);
}

Plot parameter_plot(const Sweep& sweep, const Parameter& parameter, const std::string& id) {
  const auto& metric = sweep.definition.settings.objective.metric;
  Plot plot{id,
            parameter.key,
            cat(metric, " of each trial over ", parameter.key,
                "; the figures "
                "stand in the table of all trials."),
            {parameter.key, parameter.log, parameter.kind == Parameter::Kind::integer},
            {metric},
            {points_of(sweep, parameter, TrialState::complete, "complete", kBlue),
             points_of(sweep, parameter, TrialState::pruned, "pruned, last value", kOrange)}};
  if (parameter.kind == Parameter::Kind::choices)
    for (std::size_t i = 0; i < parameter.choices.size(); ++i)
      plot.x.names.emplace_back(static_cast<double>(i), choice_name(parameter.choices[i]));
  return plot;
}

}  // namespace

Plot best_so_far(const Sweep& sweep, const std::string& id) {
  const auto& metric = sweep.definition.settings.objective.metric;
  Series trials{"complete trial", {}, kBlue}, pruned{"pruned, last value", {}, kOrange};
  Series best{"best so far", {}, 2};
  trials.has_line = pruned.has_line = false;
  pruned.is_faint = true;
  for (const auto& trial : sweep.study.trials()) {
    const auto number = static_cast<double>(trial.number);
    if (const auto value = result_of(trial, TrialState::pruned))
      pruned.points.push_back({number, *value});
    const auto value = result_of(trial, TrialState::complete);
    if (!value) continue;
    trials.points.push_back({number, *value});
    if (best.points.empty() || sweep.definition.better(*value, best.points.back().y)) {
      if (!best.points.empty()) best.points.push_back({number, best.points.back().y});
      best.points.push_back({number, *value});
    }
  }
  if (!best.points.empty()) best.points.push_back({trials.points.back().x, best.points.back().y});
  return {id + "-best",
          "Best so far",
          cat("The best ", metric, " up to each trial."),
          {"trial", false, true},
          {metric},
          {best, trials, pruned},
          {},
          720,
          320};
}

std::vector<Plot> parameter_plots(const Sweep& sweep, const std::string& id) {
  std::vector<Plot> out;
  for (const auto& parameter : sweep.definition.space.parameters())
    out.push_back(parameter_plot(sweep, parameter, cat(id, "-parameter-", out.size())));
  return out;
}

Plot trial_curves(const Sweep& sweep, const std::string& id) {
  const auto board = sweep::leaderboard(sweep.definition, sweep.study);
  const auto* best = board.empty() ? nullptr : board.front().best;
  Plot plot{id + "-reported",
            "What trials reported on the way",
            "",
            {"step", false, true},
            {sweep.definition.settings.objective.metric},
            {},
            {},
            720,
            320};
  const auto add = [&](const Trial& trial, int colour, const std::string& name) {
    Series series{name, {}, colour};
    for (const auto& [step, value] : trial.reported)
      series.points.push_back({static_cast<double>(step), value});
    series.points = thinned(std::move(series.points), kCurveBuckets);
    series.in_legend = colour < kColours;
    series.is_faint = !series.in_legend;
    plot.series.push_back(std::move(series));
  };
  for (const auto& trial : sweep.study.trials())
    if (&trial != best && !trial.reported.empty() && plot.series.size() < kMostCurves)
      add(trial, kColours, cat("trial ", trial.number));
  if (best != nullptr) add(*best, kBlue, cat("best: trial ", best->number));
  plot.description = "The objective over steps, a curve a trial; the best is in colour.";
  return plot;
}

std::vector<Importance> importances(const Sweep& sweep) {
  std::vector<Importance> out;
  for (const auto& parameter : sweep.definition.space.parameters()) {
    std::vector<ParameterOutcome> outcomes;
    for (const auto& trial : sweep.study.trials()) {
      const auto point = sweep::point_of(sweep.definition.space, trial);
      const auto at = point.find(parameter.key);
      const auto result = result_of(trial, TrialState::complete);
      if (at != point.end() && result) outcomes.push_back({at->second, *result});
    }
    out.push_back({parameter.key,
                   importance_of(outcomes, parameter.kind == Parameter::Kind::choices),
                   outcomes.size()});
  }
  std::stable_sort(out.begin(), out.end(), [](const Importance& a, const Importance& b) {
    return a.share.value_or(-1) > b.share.value_or(-1);
  });
  return out;
}

}  // namespace moe::report
