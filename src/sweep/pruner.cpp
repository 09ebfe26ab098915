#include "moe/sweep/pruner.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <vector>

namespace moe::sweep {

namespace {

/// Values as costs: lower is better.
double cost(const Definition& definition, double value) {
  return definition.minimizes() ? value : -value;
}

/// Costs by step, without that of step 0: it depends on the shape and the seed alone.
std::map<std::int64_t, double> learned_costs(const Definition& definition, const Trial& trial) {
  std::map<std::int64_t, double> out;
  for (const auto& [step, value] : trial.reported)
    if (step > 0) out[step] = cost(definition, value);
  return out;
}

std::optional<double> mean_cost_up_to(const Definition& definition, const Trial& trial,
                                      std::int64_t step) {
  double sum = 0, count = 0;
  for (const auto& [at, value] : learned_costs(definition, trial)) {
    if (at > step) break;
    sum += value;
    ++count;
  }
  if (count == 0) return std::nullopt;
  return sum / count;
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

bool worse_than_median(const Definition& definition, const Study& study, const Trial& trial) {
  const auto& pruner = definition.settings.pruner;
  const auto mine = learned_costs(definition, trial);
  if (mine.empty() || mine.rbegin()->first < pruner.warmup_steps) return false;
  const auto step = mine.rbegin()->first;
  std::vector<double> others;
  for (const auto& other : study.trials()) {
    if (other.state != TrialState::complete) continue;
    if (const auto mean = mean_cost_up_to(definition, other, step)) others.push_back(*mean);
  }
  if (static_cast<std::int64_t>(others.size()) < pruner.startup_trials) return false;
  double best = mine.begin()->second;
  for (const auto& [at, value] : mine) best = std::min(best, value);
  return best > median_of(std::move(others));
}

/// The cost at the first report on or after the rung; nullopt: not reached.
std::optional<double> cost_at_rung(const Definition& definition, const Trial& trial, double rung) {
  for (const auto& [step, value] : learned_costs(definition, trial))
    if (static_cast<double>(step) >= rung) return value;
  return std::nullopt;
}

bool falls_at_rung(const Definition& definition, const Study& study, const Trial& trial) {
  const auto& pruner = definition.settings.pruner;
  const auto eta = static_cast<double>(pruner.reduction_factor);
  const auto end = static_cast<double>(definition.base.train.max_iters);
  double rung = pruner.min_steps ? static_cast<double>(*pruner.min_steps)
                                 : std::max(1.0, std::floor(end / (eta * eta * eta)));
  const auto now = static_cast<double>(trial.reported.rbegin()->first);
  for (; rung <= now && rung < end; rung *= eta) {
    const auto mine = cost_at_rung(definition, trial, rung);
    std::vector<double> reached;
    for (const auto& other : study.trials())
      if (const auto value = cost_at_rung(definition, other, rung)) reached.push_back(*value);
    std::sort(reached.begin(), reached.end());
    // The best 1/eta of those here, one at least: the first to arrive goes on.
    const auto kept = std::max<std::size_t>(1, reached.size() / static_cast<std::size_t>(eta));
    if (*mine > reached[kept - 1]) return true;
  }
  return false;
}

}  // namespace

bool should_prune(const Definition& definition, const Study& study, const Trial& trial) {
  if (trial.reported.empty()) return false;
  switch (definition.settings.pruner.kind) {
    case PrunerKind::none:
      return false;
    case PrunerKind::median:
      return worse_than_median(definition, study, trial);
    case PrunerKind::asha:
      return falls_at_rung(definition, study, trial);
  }
  return false;
}

}  // namespace moe::sweep
