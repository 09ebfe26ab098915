#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "moe/sweep/definition.h"
#include "moe/sweep/space.h"

namespace moe::sweep {

/// A point that was proposed before, and what came of it.
struct Observation {
  Point point;
  std::optional<double> value;  // lower is better, always; none: failed, pruned, or still running
};

/// Proposes points. Deterministic in (definition, index, history); grid and random do not look at
/// the history at all, so that any number of workers proposes the same.
class Strategy {
 public:
  virtual ~Strategy() = default;
  /// The `index`-th point, from 0; nullopt when the space has no more.
  virtual std::optional<Point> propose(std::int64_t index,
                                       const std::vector<Observation>& history) = 0;
};

std::unique_ptr<Strategy> make_strategy(const Definition& definition);

/// The point of a random search with this seed, before points that stand twice are replaced. Keys
/// of `fixed` have their values there, as far as they are active.
Point random_point(const Space& space, std::uint64_t seed, std::uint64_t index,
                   const Point& fixed = {});

/// Tree-structured Parzen estimators over `history` (Bergstra et al. 2011; ADR 0022).
Point tpe_point(const Space& space, const StrategyConfig& config, std::uint64_t key,
                const std::vector<Observation>& history);

}  // namespace moe::sweep
