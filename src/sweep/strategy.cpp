#include "moe/sweep/strategy.h"

#include <cmath>
#include <set>

#include "moe/base/random.h"

namespace moe::sweep {

namespace {

constexpr std::uint64_t kTries = 100;     // to find a point that did not stand before
constexpr std::int64_t kFinite = 100000;  // points that are listed to find one that is left

double random_value(const Parameter& parameter, Generator random) {
  if (const auto size = parameter.size(); size && !parameter.log)
    return parameter.nth(
        static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(*size))));
  const double half = parameter.kind == Parameter::Kind::integer ? 0.5 : 0;
  const double low = parameter.low - half, high = parameter.high + half;
  const double u = random.uniform();
  const double value = parameter.log
                           ? std::exp(std::log(low) + u * (std::log(high) - std::log(low)))
                           : low + u * (high - low);
  return parameter.nearest(value);
}

class Grid : public Strategy {
 public:
  explicit Grid(const Definition& definition) : space_(definition.space) {}
  std::optional<Point> propose(std::int64_t index, const std::vector<Observation>&) override {
    auto found = space_.points(index, 1);
    if (found.empty()) return std::nullopt;
    return std::move(found.front());
  }

 private:
  Space space_;
};

/// `draw(try)` until a point is not among `seen`; then, in a finite space, the first that is left.
template <class Draw>
std::optional<Point> unseen(const Space& space, const std::set<Point>& seen, Draw draw) {
  Point point;
  for (std::uint64_t i = 0; i < kTries; ++i) {
    point = draw(i);
    if (!seen.contains(point)) return point;
  }
  if (const auto size = space.size(kFinite); !size || *size > kFinite) return point;
  for (auto& left : space.points(0, kFinite))
    if (!seen.contains(left)) return std::move(left);
  return std::nullopt;
}

class Random : public Strategy {
 public:
  explicit Random(const Definition& definition)
      : space_(definition.space),
        seed_(static_cast<std::uint64_t>(definition.settings.strategy.seed)) {}

  /// A point replaces one that stands twice by what came before it alone: the same at any -j.
  std::optional<Point> propose(std::int64_t index, const std::vector<Observation>&) override {
    while (static_cast<std::int64_t>(proposed_.size()) <= index) {
      const auto next = proposed_.size();
      auto point = unseen(space_, seen_, [&](std::uint64_t attempt) {
        return random_point(space_, stream_key(seed_, "again", attempt), next);
      });
      if (!point) return std::nullopt;
      seen_.insert(*point);
      proposed_.push_back(std::move(*point));
    }
    return proposed_[static_cast<std::size_t>(index)];
  }

 private:
  Space space_;
  std::uint64_t seed_;
  std::vector<Point> proposed_;
  std::set<Point> seen_;
};

class Tpe : public Strategy {
 public:
  explicit Tpe(const Definition& definition)
      : config_(definition.settings.strategy), space_(definition.space) {}

  std::optional<Point> propose(std::int64_t index,
                               const std::vector<Observation>& history) override {
    std::set<Point> seen;
    bool has_value = false;
    for (const auto& observation : history) {
      seen.insert(observation.point);
      has_value = has_value || observation.value;
    }
    const auto seed = static_cast<std::uint64_t>(config_.seed);
    const bool random = index < config_.startup_points || !has_value;
    return unseen(space_, seen, [&](std::uint64_t attempt) {
      const auto at = static_cast<std::uint64_t>(index);
      if (random) return random_point(space_, stream_key(seed, "again", attempt), at);
      return tpe_point(space_, config_, stream_key(stream_key(seed, "tpe", at), "again", attempt),
                       history);
    });
  }

 private:
  StrategyConfig config_;
  Space space_;
};

}  // namespace

Point random_point(const Space& space, std::uint64_t seed, std::uint64_t index,
                   const Point& fixed) {
  Point point;
  // A stream a key: a parameter that is added, fixed or not active moves no other's draws.
  for (const auto& parameter : space.parameters()) {
    if (!space.is_active(parameter, point)) continue;
    const auto given = fixed.find(parameter.key);
    point[parameter.key] =
        given != fixed.end()
            ? given->second
            : random_value(parameter, Generator(stream_key(seed, parameter.key, index)));
  }
  return point;
}

std::unique_ptr<Strategy> make_strategy(const Definition& definition) {
  switch (definition.settings.strategy.kind) {
    case StrategyKind::grid:
      return std::make_unique<Grid>(definition);
    case StrategyKind::random:
      return std::make_unique<Random>(definition);
    case StrategyKind::tpe:
      return std::make_unique<Tpe>(definition);
  }
  throw std::logic_error("no such strategy");
}

}  // namespace moe::sweep
