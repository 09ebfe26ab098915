#include <algorithm>
#include <cmath>
#include <limits>

#include "moe/sweep/strategy.h"
#include "sweep/parzen.h"

namespace moe::sweep {

namespace {

constexpr double kGamma = 0.1;  // the share of observations that counts as good, at most 25
constexpr std::size_t kMostGood = 25;

/// Which observations are good: the best ceil(gamma n) of those with a value (section 4, eq. 2:
/// l(x) is formed of the observations below the quantile y*, g(x) of the rest).
std::vector<bool> good_ones(const std::vector<Observation>& history) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < history.size(); ++i)
    if (history[i].value) order.push_back(i);
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return *history[a].value < *history[b].value; });
  const auto wanted =
      static_cast<std::size_t>(std::ceil(kGamma * static_cast<double>(history.size())));
  order.resize(std::min({order.size(), wanted, kMostGood}));
  std::vector<bool> good(history.size(), false);
  for (const auto i : order) good[i] = true;
  return good;
}

using ParameterGroup = std::vector<const Parameter*>;

/// The points of the good observations, or of the others, in which all of `group` was active.
std::vector<const Point*> points_of(const ParameterGroup& group,
                                    const std::vector<Observation>& history,
                                    const std::vector<bool>& good, bool wanted) {
  std::vector<const Point*> out;
  for (std::size_t i = 0; i < history.size(); ++i) {
    const auto& point = history[i].point;
    const auto has = [&](const Parameter* parameter) { return point.contains(parameter->key); };
    if (good[i] == wanted && std::all_of(group.begin(), group.end(), has)) out.push_back(&point);
  }
  return out;
}

/// Expected improvement grows with l(x) / g(x) (eq. 5): the best of the candidates drawn from l.
Point best_candidate(const ParzenEstimator& likely, const ParzenEstimator& other,
                     std::int64_t candidates, Generator random) {
  Point best;
  double best_score = -std::numeric_limits<double>::infinity();
  for (std::int64_t i = 0; i < candidates; ++i) {
    auto candidate = likely.sample(random);
    const double score = likely.log_density(candidate) - other.log_density(candidate);
    if (!best.empty() && score <= best_score) continue;
    best_score = score;
    best = std::move(candidate);
  }
  return best;
}

}  // namespace

Point tpe_point(const Space& space, const StrategyConfig& config, std::uint64_t key,
                const std::vector<Observation>& history) {
  const auto good = good_ones(history);
  Point point;
  const auto decide = [&](ParameterGroup group, std::string_view stream) {
    std::erase_if(group, [&](const Parameter* parameter) {
      const bool is_fixed = parameter->size() == 1;
      if (is_fixed) point[parameter->key] = parameter->nth(0);
      return is_fixed;
    });
    if (group.empty()) return;
    const ParzenEstimator likely(group, points_of(group, history, good, true));
    const ParzenEstimator other(group, points_of(group, history, good, false));
    point.merge(
        best_candidate(likely, other, config.candidates, Generator(stream_key(key, stream))));
  };
  // What every point has is decided together; what depends, one by one down the tree: an
  // observation tells about a parameter only where it was active (section 4).
  ParameterGroup always;
  for (const auto& parameter : space.parameters())
    if (parameter.when.empty()) always.push_back(&parameter);
  decide(always, "always");
  for (const auto& parameter : space.parameters())
    if (!parameter.when.empty() && space.is_active(parameter, point))
      decide({&parameter}, parameter.key);
  return point;
}

}  // namespace moe::sweep
