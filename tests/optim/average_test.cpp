// The mean of the weights over the tail of a run.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "moe/config/spec_of.h"
#include "moe/optim/optim.h"
#include "tests/support/device.h"

namespace moe {
namespace {

OptimConfig averaging(double start, double tau, double blend) {
  OptimConfig config;
  config.average = {start, tau, blend};
  return config;
}

/// Six weights, of which the middle four are averaged.
struct Averaged {
  explicit Averaged(const OptimConfig& config)
      : optimizer(config, {{{{0, 6}, 1, 0}}, {}, {{1, 4}}}, weights(0)) {}
  static at::Tensor weights(double value) {
    return at::full({6}, value, at::device(test::test_device()).dtype(at::kDouble));
  }
  double mean() const { return optimizer.state("average")[2].item<double>(); }
  Optimizer optimizer;
};

TEST(Average, BeginsAtItsShareOfTheRun) {
  const auto config = averaging(0.75, 200, 0.6);
  EXPECT_FALSE(is_averaged_at(config, 100, 74));
  EXPECT_TRUE(is_averaged_at(config, 100, 75));
  EXPECT_TRUE(is_averaged_at(config, 100, 100));
  EXPECT_FALSE(is_averaged_at({}, 100, 100)) << "never, unless it is asked for";
}

TEST(Average, IsTheFirstWeightsThenMovesByOneTauthOfTheWay) {
  Averaged averaged(averaging(0, 4, 1));
  averaged.optimizer.average(Averaged::weights(7), false);
  EXPECT_EQ(averaged.mean(), 0) << "not begun";
  averaged.optimizer.average(Averaged::weights(8), true);
  EXPECT_EQ(averaged.mean(), 8);
  averaged.optimizer.average(Averaged::weights(16), true);
  EXPECT_EQ(averaged.mean(), 10);
  averaged.optimizer.average(Averaged::weights(14), true);
  EXPECT_EQ(averaged.mean(), 11);
  averaged.optimizer.average(Averaged::weights(5), false);  // the run was made longer
  averaged.optimizer.average(Averaged::weights(3), true);
  EXPECT_EQ(averaged.mean(), 3) << "begun anew";
}

TEST(Average, IsBlendedIntoTheWeightsThatAreAveragedAlone) {
  Averaged averaged(averaging(0, 4, 0.25));
  auto weights = Averaged::weights(4);
  averaged.optimizer.blend(weights);
  EXPECT_TRUE(weights.equal(Averaged::weights(4))) << "not begun";
  averaged.optimizer.average(Averaged::weights(8), true);
  averaged.optimizer.blend(weights);
  auto expected = Averaged::weights(5);
  expected[0] = expected[5] = 4;
  EXPECT_TRUE(weights.equal(expected));
}

TEST(Average, IsOfAllParametersButTables) {
  ModelConfig shape;
  shape.n_layer = 1;
  const ParameterTable table(spec_of(shape, 5));
  const auto plan = plan_updates(averaging(0.5, 200, 0.6), table);
  const auto tables = (5 + shape.block_size) * shape.n_embed;  // which come first
  ASSERT_EQ(plan.averaged.size(), 1U);
  EXPECT_EQ(plan.averaged[0].begin, tables);
  EXPECT_EQ(plan.averaged[0].count, table.count() - tables);
  EXPECT_TRUE(plan_updates({}, table).averaged.empty());
}

}  // namespace
}  // namespace moe
