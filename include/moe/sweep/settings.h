#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "moe/config/field.h"

namespace moe {

namespace sweep {
enum class StrategyKind { grid, random, tpe };
enum class PrunerKind { none, median, asha };
enum class Direction { minimize, maximize };
enum class Reduce { best, last };
}  // namespace sweep

template <>
struct EnumNames<sweep::StrategyKind> {
  static constexpr std::array<std::string_view, 3> names{"grid", "random", "tpe"};
};
template <>
struct EnumNames<sweep::PrunerKind> {
  static constexpr std::array<std::string_view, 3> names{"none", "median", "asha"};
};
template <>
struct EnumNames<sweep::Direction> {
  static constexpr std::array<std::string_view, 2> names{"minimize", "maximize"};
};
template <>
struct EnumNames<sweep::Reduce> {
  static constexpr std::array<std::string_view, 2> names{"best", "last"};
};

namespace sweep {

/// How points are proposed.
struct StrategyConfig {
  StrategyKind kind = StrategyKind::tpe;
  std::int64_t seed = 1337, startup_points = 10, candidates = 24;

  static constexpr auto fields() {
    using C = StrategyConfig;
    return std::tuple{
        Field{"kind", &C::kind,
              "grid: every point in order; random; tpe: learns from earlier trials"},
        Field{"seed", &C::seed, "seed of the proposals, not of the trials", at_least(0)},
        Field{"startup_points", &C::startup_points, "tpe: random points before it begins",
              between(1, 1000000)},
        Field{"candidates", &C::candidates, "tpe: candidates drawn for each proposed value",
              between(1, 10000)}};
  }
};
static_assert(table_is_complete<StrategyConfig>);

/// Which trials are stopped early.
struct PrunerConfig {
  PrunerKind kind = PrunerKind::none;
  std::int64_t startup_trials = 5, warmup_steps = 0;
  std::optional<std::int64_t> min_steps;
  std::int64_t reduction_factor = 4;

  static constexpr auto fields() {
    using C = PrunerConfig;
    return std::tuple{
        Field{
            "kind", &C::kind,
            "which trials stop early: none, those worse than the median, or by successive halving"},
        Field{"startup_trials", &C::startup_trials, "median: finished trials before it begins",
              between(1, 1000000)},
        Field{"warmup_steps", &C::warmup_steps, "median: no trial stops before this step [steps]",
              steps_from(0)},
        Field{"min_steps", &C::min_steps,
              "asha: the first rung [steps]; null: max_iters / reduction_factor^3", steps_from(1)},
        Field{"reduction_factor", &C::reduction_factor,
              "asha: one of this many trials continues from each rung to the next",
              between(2, 1000)}};
  }
};
static_assert(table_is_complete<PrunerConfig>);

/// What is good.
struct ObjectiveConfig {
  std::string metric = "val/loss";
  Direction direction = Direction::minimize;
  Reduce reduce = Reduce::best;

  static constexpr auto fields() {
    using C = ObjectiveConfig;
    return std::tuple{
        Field{"metric", &C::metric,
              "what the sweep improves: a number of metrics.jsonl (docs/metrics.md)"},
        Field{"direction", &C::direction, "whether lower or higher is better"},
        Field{"reduce", &C::reduce, "a trial's value: the best of its evaluations, or its last"}};
  }
};
static_assert(table_is_complete<ObjectiveConfig>);

/// Of a budget of time: from a millisecond to thirty years [s].
inline constexpr Bounds kBudgetSeconds = between(1e-3, 1e9);

/// When to stop.
struct BudgetConfig {
  std::optional<std::int64_t> trials;
  std::optional<double> seconds;
  std::int64_t workers = 1;
  std::optional<std::int64_t> steps;
  std::int64_t attempts = 3;
  std::optional<std::int64_t> max_consecutive_failures = 5;

  static constexpr auto fields() {
    using C = BudgetConfig;
    return std::tuple{
        Field{"trials", &C::trials,
              "trials in all, seeds counted; null: all points of a finite space",
              between(1, 1000000)},
        Field{"seconds", &C::seconds,
              "wall time of one sweep run, which then saves and ends [s]; null: no limit",
              kBudgetSeconds},
        Field{"workers", &C::workers, "trials at once in sweep run; -j takes precedence",
              between(1, 1024)},
        Field{"steps", &C::steps, "train.max_iters of every trial; null: the base's",
              steps_from(1)},
        Field{"attempts", &C::attempts,
              "starts of one trial, counting those after it was killed or its worker died",
              between(1, 1000)},
        Field{"max_consecutive_failures", &C::max_consecutive_failures,
              "trials that fail alike one after another end the worker; null: no limit",
              between(1, 1000000)}};
  }
};
static_assert(table_is_complete<BudgetConfig>);

/// The tables of a sweep file; "base", "set" and "space" stand beside them.
struct SweepSettings {
  std::int64_t seeds = 1;
  StrategyConfig strategy;
  PrunerConfig pruner;
  ObjectiveConfig objective;
  BudgetConfig budget;

  static constexpr auto fields() {
    using C = SweepSettings;
    return std::tuple{
        Field{"seeds", &C::seeds,
              "trials for each point, with the base's seed, seed + 1, ...; their mean counts",
              between(1, 1000)},
        Field{"strategy", &C::strategy, "how points are proposed"},
        Field{"pruner", &C::pruner, "which trials stop early"},
        Field{"objective", &C::objective, "what is good"},
        Field{"budget", &C::budget, "when to stop"}};
  }
};
static_assert(table_is_complete<SweepSettings>);

/// Every key of a sweep file's tables with default, bounds and meaning, as aligned text.
std::string describe_settings();

}  // namespace sweep
}  // namespace moe
