#include "moe/timing/prediction.h"

#include <gtest/gtest.h>

#include "moe/data/corpus.h"

namespace moe {
namespace {

constexpr std::int64_t kSymbols = 7;
constexpr MachineRates kRates{.product = 1e9, .memory = 1e8};
constexpr double kNewtonSchulzRate = 2e9;

RunConfig small_config() {
  RunConfig config;
  config.model.n_embed = 16;
  config.model.n_head = 2;
  config.model.n_layer = 2;
  config.model.block_size = 8;
  config.model.moe.num_experts = 4;
  config.train.batch_size = 4;
  return config;
}

StepWork work_of(const RunConfig& config) {
  return count_step_work(TrainState(config, kSymbols, Tokens(100), at::kCPU));
}

TEST(StepWork, OfTwiceTheTokensIsTwiceTheProductsAndArraysAndOneUpdate) {
  auto config = small_config();
  const auto once = work_of(config);
  config.train.grad_accumulation = 2;
  const auto twice = work_of(config);
  EXPECT_EQ(twice.products, 2 * once.products);
  EXPECT_EQ(twice.arrays, 2 * once.arrays);
  EXPECT_EQ(twice.update, once.update);
}

TEST(StepWork, OfTheUpdateReadsGradientsAndReadsAndWritesWeightsAndTwoMoments) {
  const auto config = small_config();
  const TrainState state(config, kSymbols, Tokens(100), at::kCPU);
  EXPECT_EQ(count_step_work(state).update, (1 + 2 * 3) * state.flat.values().nbytes());
}

TEST(StepWork, HasNewtonSchulzWhereMuonMovesMatricesAndLessOfItWhereExpertsTakeTurns) {
  auto config = small_config();
  EXPECT_EQ(work_of(config).newton_schulz, 0);
  config.optim.kind = OptimizerKind::muon;
  const auto each = work_of(config).newton_schulz;
  config.optim.muon.every = 2;
  EXPECT_GT(each, 0);
  EXPECT_LT(work_of(config).newton_schulz, each);
  EXPECT_GT(work_of(config).newton_schulz, each / 2) << "attention's have none";
}

TEST(StepWork, OfMoreExpertsIsMoreUpdateAndOfAWiderOneMoreOfAll) {
  auto config = small_config();
  const auto base = work_of(config);
  config.model.moe.num_experts = 8;
  const auto experts = work_of(config);
  EXPECT_GT(experts.update, 1.5 * base.update);
  EXPECT_LT(experts.products, 1.1 * base.products);  // a token's experts are as many
  config = small_config();
  config.model.n_embed = 32;
  const auto wide = work_of(config);
  EXPECT_GT(wide.products, 3 * base.products);
  EXPECT_GT(wide.arrays, 1.5 * base.arrays);
  EXPECT_GT(wide.update, 3 * base.update);
}

TEST(StepPrediction, DividesEachPartOfTheWorkByItsRate) {
  const StepWork work{.products = 3e9, .newton_schulz = 1e9, .arrays = 2e8, .update = 1e8};
  const auto expected = predict_step(work, kRates, kNewtonSchulzRate);
  EXPECT_EQ(expected.products, 3);
  EXPECT_EQ(expected.newton_schulz, 0.5);
  EXPECT_EQ(expected.arrays, 2);
  EXPECT_EQ(expected.update, 1);
  EXPECT_EQ(expected.all(), 6.5);
}

TEST(StepPrediction, OfNoNewtonSchulzNeedsNoRateOfIt) {
  const StepWork work{.products = 1e9};
  EXPECT_EQ(predict_step(work, kRates, 0).newton_schulz, 0);
}

}  // namespace
}  // namespace moe
