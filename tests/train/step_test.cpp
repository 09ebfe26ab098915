// One update: what it averages, bounds and counts.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "moe/optim/optim.h"
#include "tests/support/golden.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

/// The same sum in parts of another size: float rounds each of some hundred additions at 6e-8.
/// Double would leave nothing to round, but a run is in float.
constexpr double kOtherParts = 2e-5;

/// The norm of a difference of weights near 1, each rounded at 6e-8: 1e4 of them.
constexpr double kStorage = 1e-5;

/// An update of about the size of the gradient, where AdamW's is of about 1 whatever the gradient.
RunConfig plain_updates() {
  auto config = tiny_run();
  config.optim.learning_rate = 1;
  config.optim.eps = 1;
  config.optim.weight_decay = 0;
  return config;
}

struct Accumulation {
  const char* name;
  RouterKind router;
  double dropout;
};

class AccumulationTest : public testing::TestWithParam<Accumulation> {
 protected:
  /// After `updates` of `micro` batches of `batch` windows each.
  struct Outcome {
    Outcome(std::int64_t micro, std::int64_t batch, std::int64_t updates)
        : run(config(micro, batch)) {
      for (std::int64_t i = 0; i < updates; ++i) result = train_step(run.state);
    }
    TinyRun run;
    StepResult result;
  };

  static RunConfig config(std::int64_t micro, std::int64_t batch) {
    auto config = plain_updates();
    config.model.dropout = GetParam().dropout;
    config.model.moe.router = GetParam().router;
    config.train.grad_accumulation = micro;
    config.train.batch_size = batch;
    return config;
  }
};

TEST_P(AccumulationTest, SmallBatchesOfAnUpdateEqualOneLargeBatch) {
  for (const std::int64_t updates : {1, 3}) {
    Outcome whole(1, 12, updates);
    for (const auto& [micro, batch] : {std::pair{2, 6}, std::pair{3, 4}, std::pair{12, 1}}) {
      SCOPED_TRACE(std::to_string(micro) + " of " + std::to_string(batch));
      Outcome parts(micro, batch, updates);
      EXPECT_NEAR(parts.result.loss, whole.result.loss, kOtherParts);
      EXPECT_NEAR(parts.result.grad_norm, whole.result.grad_norm,
                  kOtherParts * whole.result.grad_norm);
      EXPECT_EQ(parts.result.tokens, whole.result.tokens);
      EXPECT_EQ(parts.run.state.at.tokens, updates * 12 * 8);
      EXPECT_EQ(parts.run.state.sampler.state(), whole.run.state.sampler.state());
      EXPECT_LE(relative_error(parts.run.state.flat.values(), whole.run.state.flat.values()),
                kOtherParts);
      for (const auto& tensor : whole.run.state.flat.layout())
        EXPECT_LE(relative_error(parts.run.gradient(tensor.name), whole.run.gradient(tensor.name)),
                  kOtherParts)
            << tensor.name;
    }
  }
}

// Draws are keyed by the row of the update, so they are the same in parts.
INSTANTIATE_TEST_SUITE_P(Draws, AccumulationTest,
                         testing::Values(Accumulation{"none", RouterKind::topk, 0},
                                         Accumulation{"dropout", RouterKind::topk, 0.2},
                                         Accumulation{"noise", RouterKind::noisy_topk, 0}),
                         [](const auto& test_info) { return std::string(test_info.param.name); });

/// How far one update moved the weights, and the run it was made in.
double first_move(TinyRun& run, StepResult& result) {
  const auto before = run.state.flat.values().clone();
  result = train_step(run.state);
  return l2_norm(run.state.flat.values() - before);
}

TEST(GradientClipping, BoundsTheGradientAndSoTheUpdate) {
  constexpr double kClip = 0.01;
  auto config = plain_updates();
  TinyRun free(config);
  config.optim.grad_clip = kClip;
  TinyRun clipped(config);
  StepResult free_result, result;
  // |g / (|g| + eps)| <= |g| / eps for every weight: the first update is no longer than rate * |g|.
  EXPECT_GT(first_move(free, free_result), 2 * kClip);
  EXPECT_LE(first_move(clipped, result), kClip + kStorage);
  EXPECT_GT(result.grad_norm, kClip);
  EXPECT_EQ(result.grad_norm, free_result.grad_norm) << "it is the norm before clipping";
  // The optimizer takes the gradient clipped: its first moment tells.
  EXPECT_NEAR(l2_norm(clipped.state.optimizer.state("exp_avg")),
              (1 - config.optim.betas[0]) * kClip, kStorage);
}

TEST(GradientClipping, LeavesASmallGradientAsItIs) {
  auto config = tiny_run();
  TinyRun free(config);
  config.optim.grad_clip = 1e6;
  TinyRun clipped(config);
  for (int i = 0; i < 3; ++i) {
    train_step(free.state);
    train_step(clipped.state);
  }
  EXPECT_TRUE(Snapshot(free.state) == Snapshot(clipped.state));
}

TEST(TrainStep, FollowsTheLearningRateScheduleFromItsFirstUpdate) {
  auto config = tiny_run();
  config.train.max_iters = 8;
  config.optim.learning_rate = 1;
  config.optim.schedule = {ScheduleKind::linear, 4, 0.2};
  TinyRun run(config);
  std::vector<double> rates;
  for (int i = 0; i < 8; ++i) rates.push_back(train_step(run.state).learning_rate);
  const std::vector<double> expected{0.25, 0.5, 0.75, 1, 0.8, 0.6, 0.4, 0.2};
  for (std::size_t i = 0; i < 8; ++i) EXPECT_DOUBLE_EQ(rates[i], expected[i]) << i;
}

TEST(TrainStep, FollowsTheScheduleOfWeightDecayFromItsFirstUpdate) {
  auto config = tiny_run();
  TinyRun constant(config);
  config.optim.decay_schedule = DecaySchedule::linear;
  TinyRun falling(config);
  for (const bool is_first : {true, false}) {
    train_step(constant.state);
    train_step(falling.state);
    EXPECT_EQ(same_bits(constant.state.flat.values(), falling.state.flat.values()), is_first);
  }
}

TEST(TrainStep, ALearningRateOfZeroMovesNothing) {
  auto config = tiny_run();
  config.optim.learning_rate = 0;
  TinyRun run(config);
  const auto before = run.state.flat.values().clone();
  train_step(run.state);
  EXPECT_TRUE(same_bits(run.state.flat.values(), before));
}

TEST(TrainStep, CountsUpdatesAndTokens) {
  auto config = tiny_run();
  config.train.grad_accumulation = 3;
  TinyRun run(config);
  EXPECT_EQ(train_step(run.state).tokens, 3 * 4 * 8);
  train_step(run.state);
  EXPECT_EQ(run.state.at.step, 2);
  EXPECT_EQ(run.state.at.tokens, 2 * 3 * 4 * 8);
  EXPECT_EQ(run.state.optimizer.steps, 2);
}

TEST(TrainStep, TellsWhichShareOfTheSlotsWasDropped) {
  auto config = tiny_run();
  TinyRun dropless(config);
  const auto all_kept = train_step(dropless.state);
  EXPECT_EQ(all_kept.dropped_fraction, 0);
  EXPECT_TRUE(all_kept.dropped_by_layer.empty());
  config.model.moe.capacity_factor = 0.5;  // of 32 * 2 / 4 slots an expert: at least half is lost
  TinyRun cut(config);
  const auto result = train_step(cut.state);
  EXPECT_GE(result.dropped_fraction, 0.5);
  EXPECT_LT(result.dropped_fraction, 1);
}

TEST(TrainStep, SumsWhatEachLayerDropsOverAllBatchesOfEveryUpdate) {
  auto config = tiny_run();
  config.model.moe.capacity_factor = 0.9;
  config.train.grad_accumulation = 2;
  TinyRun run(config);
  for (int update = 1; update <= 3; ++update) {  // the first finds out how large the workspace is
    const auto result = train_step(run.state);
    ASSERT_EQ(result.dropped_by_layer.size(), 2U);
    EXPECT_NEAR((result.dropped_by_layer[0] + result.dropped_by_layer[1]) / 2,
                result.dropped_fraction, 1e-12)
        << "update " << update;
  }
}

TEST(TrainStep, LearnsATextThatRepeats) {
  auto config = tiny_run();
  config.model.dropout = 0;
  config.optim.learning_rate = 1e-2;
  TinyRun run(config);
  for (std::size_t i = 0; i < run.tokens.size(); ++i) run.tokens[i] = static_cast<int>(i % 3);
  const auto first = train_step(run.state).loss;
  double last = first;
  for (int i = 0; i < 40; ++i) last = train_step(run.state).loss;
  EXPECT_LT(last, first / 4);
}

}  // namespace
}  // namespace moe
