#pragma once

#include <optional>
#include <string>
#include <vector>

#include "moe/sweep/summary.h"
#include "report/plot.h"

namespace moe::report {

/// The objective of each trial in the order of their numbers, and the best up to each.
Plot best_so_far(const sweep::Sweep& sweep, const std::string& id);

/// Each parameter against the objective, complete and pruned trials.
std::vector<Plot> parameter_plots(const sweep::Sweep& sweep, const std::string& id);

/// What each trial reported on the way.
Plot trial_curves(const sweep::Sweep& sweep, const std::string& id);

struct Importance {
  std::string key;
  std::optional<double> share;  // nullopt: too few trials
  std::size_t trials = 0;       // complete ones that had the parameter
};
/// The most important first.
std::vector<Importance> importances(const sweep::Sweep& sweep);

}  // namespace moe::report
