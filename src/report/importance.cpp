#include "report/importance.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace moe::report {

namespace {

constexpr double kGroups = 4;

/// Ranks from 0 by `key`; equal ones share the mean of theirs.
template <class Key>
std::vector<double> ranks_by(const std::vector<ParameterOutcome>& trials, const Key& key) {
  std::vector<std::size_t> order(trials.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return key(trials[a]) < key(trials[b]); });
  std::vector<double> ranks(trials.size());
  for (std::size_t begin = 0; begin < order.size();) {
    auto end = begin + 1;
    while (end < order.size() && key(trials[order[end]]) == key(trials[order[begin]])) ++end;
    const auto shared = (static_cast<double>(begin) + static_cast<double>(end - 1)) / 2;
    for (auto i = begin; i < end; ++i) ranks[order[i]] = shared;
    begin = end;
  }
  return ranks;
}

std::vector<double> groups_of(const std::vector<ParameterOutcome>& trials, bool is_choice) {
  if (!is_choice) {
    auto groups = ranks_by(trials, [](const ParameterOutcome& trial) { return trial.parameter; });
    const auto count = static_cast<double>(trials.size());
    for (auto& rank : groups) rank = std::floor(rank * kGroups / count);
    return groups;
  }
  std::vector<double> groups;
  groups.reserve(trials.size());
  for (const auto& trial : trials) groups.push_back(trial.parameter);
  return groups;
}

}  // namespace

std::optional<double> importance_of(const std::vector<ParameterOutcome>& trials, bool is_choice) {
  struct Sum {
    double rank = 0, count = 0;
  };
  const auto ranks =
      ranks_by(trials, [](const ParameterOutcome& trial) { return trial.objective; });
  const auto groups = groups_of(trials, is_choice);
  std::map<double, Sum> sums;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    sums[groups[i]].rank += ranks[i];
    sums[groups[i]].count += 1;
  }
  if (sums.size() < 2 || trials.size() < sums.size() + 3) return std::nullopt;
  const auto count = static_cast<double>(trials.size());
  const auto mean = (count - 1) / 2;
  double total = 0, within = 0;
  for (std::size_t i = 0; i < trials.size(); ++i) {
    const auto& sum = sums[groups[i]];
    total += (ranks[i] - mean) * (ranks[i] - mean);
    within += (ranks[i] - sum.rank / sum.count) * (ranks[i] - sum.rank / sum.count);
  }
  if (total == 0) return 0.0;
  const auto freedom = (count - 1) / (count - static_cast<double>(sums.size()));
  return std::clamp(1 - within / total * freedom, 0.0, 1.0);
}

}  // namespace moe::report
