#pragma once

#include <optional>
#include <vector>

namespace moe::report {

/// What one parameter was in one trial, and what came of it.
struct ParameterOutcome {
  double parameter = 0;  // the number, or the index of a choice
  double objective = 0;
};

/// How much of the objective's rank a parameter explains by itself, from 0 to 1: the share of the
/// variance of ranks between its values, less what chance gives so many groups (epsilon squared,
/// Kelley 1935). A choice is a group; numbers fall into four groups of about equal size, equal ones
/// together. nullopt where less than 3 trials more than there are groups, or one group alone.
std::optional<double> importance_of(const std::vector<ParameterOutcome>& trials, bool is_choice);

}  // namespace moe::report
