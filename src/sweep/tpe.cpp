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

/// The values of `parameter` among the good observations, or among the others.
std::vector<double> values_of(const Parameter& parameter, const std::vector<Observation>& history,
                              const std::vector<bool>& good, bool wanted) {
  std::vector<double> out;
  for (std::size_t i = 0; i < history.size(); ++i)
    if (const auto value = history[i].point.find(parameter.key);
        good[i] == wanted && value != history[i].point.end())
      out.push_back(value->second);
  return out;
}

}  // namespace

Point tpe_point(const Space& space, const StrategyConfig& config, std::uint64_t key,
                const std::vector<Observation>& history) {
  const auto good = good_ones(history);
  Point point;
  // From the root of the tree to its leaves: an observation tells about a parameter only where it
  // was active (section 4, "the tree structure").
  for (const auto& parameter : space.parameters()) {
    if (!space.is_active(parameter, point)) continue;
    const ParzenEstimator likely(parameter, values_of(parameter, history, good, true));
    const ParzenEstimator other(parameter, values_of(parameter, history, good, false));
    Generator random(stream_key(key, parameter.key));
    double best = -std::numeric_limits<double>::infinity();
    // Expected improvement grows with l(x) / g(x) (eq. 5): candidates come from l.
    for (std::int64_t i = 0; i < config.candidates; ++i) {
      const double value = likely.sample(random);
      const double score = likely.log_density(value) - other.log_density(value);
      if (score <= best) continue;
      best = score;
      point[parameter.key] = value;
    }
  }
  return point;
}

}  // namespace moe::sweep
