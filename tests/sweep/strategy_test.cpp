#include "moe/sweep/strategy.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "src/sweep/parzen.h"
#include "tests/sweep/sample.h"

namespace moe::sweep {
namespace {

using test::is_whole;
using test::parsed;

Definition with(Space space, StrategyKind kind, std::int64_t seed = 1) {
  Definition definition;
  definition.space = std::move(space);
  definition.settings.strategy.kind = kind;
  definition.settings.strategy.seed = seed;
  return definition;
}

const auto kBowl = R"({"x": {"float": [-5, 5]}, "y": {"float": [1e-3, 1e3], "log": true}})";

double bowl(const Point& point) {
  return std::pow(point.at("x") - 2, 2) + std::pow(std::log10(point.at("y")) + 1, 2);
}

/// The best of `count` points.
template <class Objective>
double best_of(const Definition& definition, int count, Objective objective) {
  const auto strategy = make_strategy(definition);
  std::vector<Observation> history;
  double best = 1e9;
  for (int i = 0; i < count; ++i) {
    auto point = strategy->propose(i, history);
    const auto value = objective(*point);
    best = std::min(best, value);
    history.push_back({std::move(*point), value});
  }
  return best;
}

TEST(Grid, GivesEachPointOnceThenEnds) {
  const auto strategy =
      make_strategy(with(parsed(R"({"a": {"int": [1, 3]}})"), StrategyKind::grid));
  EXPECT_EQ(strategy->propose(2, {})->at("a"), 3);
  EXPECT_EQ(strategy->propose(0, {})->at("a"), 1);
  EXPECT_FALSE(strategy->propose(3, {}));
}

TEST(RandomSearch, ProposesTheSameInAnyOrderAndWhateverCameOfIt) {
  const auto definition = with(parsed(kBowl), StrategyKind::random);
  const auto forwards = make_strategy(definition), backwards = make_strategy(definition);
  std::vector<Point> points;
  for (int i = 0; i < 20; ++i) points.push_back(*forwards->propose(i, {}));
  for (int i = 19; i >= 0; --i)
    EXPECT_EQ(*backwards->propose(i, {{points[0], 1.0}}), points[static_cast<std::size_t>(i)]);
  EXPECT_NE(*make_strategy(with(parsed(kBowl), StrategyKind::random, 2))->propose(0, {}),
            points[0]);
}

TEST(RandomSearch, IsUniformInTheLogarithmAndReachesBothEndsOfIntegers) {
  const auto space =
      parsed(R"({"l": {"float": [1e-4, 1], "log": true}, "n": {"int": [1, 4], "log": true}})");
  int below = 0;
  std::set<double> whole;
  for (std::uint64_t i = 0; i < 4000; ++i) {
    const auto point = random_point(space, 7, i);
    below += point.at("l") < 1e-2 ? 1 : 0;
    whole.insert(point.at("n"));
  }
  EXPECT_NEAR(below, 2000, 160);  // five standard deviations of a fair coin
  EXPECT_EQ(whole, (std::set<double>{1, 2, 3, 4}));
}

class SmallSpace : public ::testing::TestWithParam<StrategyKind> {};

TEST_P(SmallSpace, IsProposedWholeWithoutAPointTwiceThenEnds) {
  const auto strategy = make_strategy(
      with(parsed(R"({"a": {"int": [1, 3]}, "b": {"choices": [true, false]}})"), GetParam()));
  std::vector<Observation> history;
  std::set<Point> seen;
  for (int i = 0; i < 6; ++i) {
    const auto point = strategy->propose(i, history);
    ASSERT_TRUE(point);
    EXPECT_TRUE(seen.insert(*point).second);
    history.push_back({*point, point->at("a")});
  }
  EXPECT_FALSE(strategy->propose(6, history));
}

INSTANTIATE_TEST_SUITE_P(
    Strategies, SmallSpace,
    ::testing::Values(StrategyKind::grid, StrategyKind::random, StrategyKind::tpe),
    [](const auto& tested) {
      return std::string(EnumNames<StrategyKind>::names[static_cast<std::size_t>(tested.param)]);
    });

TEST(Tpe, RepeatsItselfBitForBit) {
  const auto definition = with(parsed(kBowl), StrategyKind::tpe);
  EXPECT_EQ(best_of(definition, 40, bowl), best_of(definition, 40, bowl));
}

TEST(Tpe, ComesNearerThanRandomSearchInMostSeeds) {
  int wins = 0;
  for (std::int64_t seed = 0; seed < 20; ++seed)
    wins += best_of(with(parsed(kBowl), StrategyKind::tpe, seed), 60, bowl) <
                    best_of(with(parsed(kBowl), StrategyKind::random, seed), 60, bowl)
                ? 1
                : 0;
  EXPECT_GE(wins, 15);  // p < 0.05 by the sign test over 20
}

TEST(Tpe, LearnsFromFailuresAndKeepsTheirPlaceEmpty) {
  // Half of the range fails always: later proposals go there less often than by chance.
  const auto strategy =
      make_strategy(with(parsed(R"({"x": {"float": [0, 1]}})"), StrategyKind::tpe));
  std::vector<Observation> history;
  int failed = 0;
  for (int i = 0; i < 60; ++i) {
    const auto point = *strategy->propose(i, history);
    const bool fails = point.at("x") > 0.5;
    if (i >= 20 && fails) ++failed;
    history.push_back({point, fails ? std::nullopt : std::optional(1.0)});
  }
  EXPECT_LT(failed, 15);
}

TEST(Tpe, DrawsWhenNothingHasFinished) {
  const auto strategy = make_strategy(with(parsed(kBowl), StrategyKind::tpe));
  const std::vector<Observation> running(30, {{{"x", 0.0}, {"y", 1.0}}, std::nullopt});
  EXPECT_TRUE(strategy->propose(30, running));
}

TEST(Tpe, FollowsConditionsDownTheTree) {
  const auto space = parsed(
      R"({"kind": {"choices": ["a", "b"]}, "depth": {"int": [1, 9], "when": {"kind": "b"}}})");
  std::vector<Observation> history;
  for (std::uint64_t i = 0; i < 40; ++i) {
    const auto point = i < 10 ? random_point(space, 1, i) : tpe_point(space, {}, i, history);
    ASSERT_TRUE(is_whole(space, point));
    history.push_back({point, point.contains("depth") ? 9 - point.at("depth") : 20});
  }
  EXPECT_GT(std::count_if(history.end() - 20, history.end(),
                          [](const auto& o) { return o.point.contains("depth"); }),
            15);
}

TEST(ParzenEstimator, SumsToOneOverDiscreteValuesAndItsSamplesFollowIt) {
  const auto space = parsed(
      R"({"n": {"int": [1, 12], "log": true}, "c": {"choices": [1, 2, 3]}, "s": {"float": [0, 1], "step": 0.25}})");
  for (const auto& parameter : space.parameters()) {
    const auto at = [&](std::int64_t index) {
      return Point{{parameter.key, parameter.nth(index)}};
    };
    const auto one = at(1), two = at(2);
    const ParzenEstimator estimator({&parameter}, {&one, &one, &two});
    double sum = 0;
    std::map<Point, int> drawn;
    Generator random(3);
    for (int i = 0; i < 20000; ++i) ++drawn[estimator.sample(random)];
    for (std::int64_t i = 0; i < *parameter.size(); ++i) {
      const auto probability = std::exp(estimator.log_density(at(i)));
      sum += probability;
      EXPECT_NEAR(drawn[at(i)] / 20000.0, probability, 0.02) << parameter.key << " " << i;
    }
    EXPECT_NEAR(sum, 1, 1e-9) << parameter.key;
  }
}

TEST(ParzenEstimator, SeesThatParametersGoTogether) {
  const auto space = parsed(R"({"x": {"float": [0, 1]}, "y": {"float": [0, 1]}})");
  std::vector<Point> points;
  for (int i = 0; i < 10; ++i) points.push_back({{"x", i / 10.0}, {"y", i / 10.0}});
  std::vector<const Point*> observed;
  for (const auto& point : points) observed.push_back(&point);
  const ParzenEstimator estimator({&space.parameters()[0], &space.parameters()[1]}, observed);
  const double together = estimator.log_density({{"x", 0.1}, {"y", 0.1}});
  EXPECT_GT(together, estimator.log_density({{"x", 0.1}, {"y", 0.9}}) + 1);
}

TEST(ParzenEstimator, IntegratesToOneOverARange) {
  const auto space = parsed(R"({"x": {"float": [-2, 3]}})");
  const std::vector<Point> points{{{"x", -2}}, {{"x", 2.9}}, {{"x", 0.1}}, {{"x", 0.1}}};
  const ParzenEstimator estimator({&space.parameters()[0]},
                                  {&points[0], &points[1], &points[2], &points[3]});
  constexpr int kPieces = 20000;
  double sum = 0;
  for (int i = 0; i < kPieces; ++i)
    sum += std::exp(estimator.log_density({{"x", -2 + 5 * (i + 0.5) / kPieces}})) * 5 / kPieces;
  EXPECT_NEAR(sum, 1, 1e-5);
}

}  // namespace
}  // namespace moe::sweep
