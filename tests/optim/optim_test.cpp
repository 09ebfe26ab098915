#include "moe/optim/optim.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

#include "tests/support/device.h"

namespace moe {
namespace {

using test::test_device;

at::TensorOptions options_of(at::ScalarType type) { return at::device(test_device()).dtype(type); }

// One rounding to float a step on values near 1, five steps.
constexpr double kFloatSteps = 2e-6;

// The formula without eps: 1e-8 beside the root of a second moment near 4, times 0.01.
constexpr double kSmallEps = 1e-10;

constexpr ScheduleKind kSchedules[] = {ScheduleKind::constant, ScheduleKind::cosine,
                                       ScheduleKind::linear, ScheduleKind::wsd};

OptimConfig schedule_of(ScheduleKind kind) {
  OptimConfig config;
  config.learning_rate = 1.0;
  config.schedule = {kind, 10, 0.1, 0.25};
  return config;
}

TEST(LearningRate, RisesLinearlyThroughTheWarmUp) {
  for (const auto kind : kSchedules) {
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(kind), 110, 1), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(kind), 110, 5), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(kind), 110, 10), 1.0);
  }
}

TEST(LearningRate, IsZeroBeforeTheFirstUpdateOfAWarmUp) {
  for (const auto kind : kSchedules) EXPECT_EQ(learning_rate_at(schedule_of(kind), 110, 0), 0);
}

TEST(LearningRate, NeverRisesAfterTheWarmUpNorFallsBelowItsEnd) {
  for (const auto kind : {ScheduleKind::cosine, ScheduleKind::linear}) {
    for (std::int64_t step = 11; step <= 110; ++step)
      EXPECT_LT(learning_rate_at(schedule_of(kind), 110, step),
                learning_rate_at(schedule_of(kind), 110, step - 1))
          << step;
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(kind), 110, 200), 0.1);
  }
}

TEST(LearningRate, FollowsItsScheduleToTheEnd) {
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(ScheduleKind::constant), 110, 110), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(ScheduleKind::linear), 110, 60), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(ScheduleKind::linear), 110, 110), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(ScheduleKind::cosine), 110, 35),
                   0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5)));
  EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(ScheduleKind::cosine), 110, 110), 0.1);
}

TEST(LearningRate, IsStableInAWsdUntilItsLastPartWhichDecaysToTheEnd) {
  const auto config = schedule_of(ScheduleKind::wsd);  // the last quarter of 200: from 150 on
  EXPECT_EQ(learning_rate_at(config, 200, 11), 1.0);
  EXPECT_EQ(learning_rate_at(config, 200, 150), 1.0);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 200, 175), 0.55);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 200, 200), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 200, 300), 0.1);
}

TEST(LearningRate, OfAWsdThatDecaysAllTheWayBeginsToAfterTheWarmUp) {
  auto config = schedule_of(ScheduleKind::wsd);
  config.schedule.decay_fraction = 1;
  const auto linear = schedule_of(ScheduleKind::linear);
  for (const std::int64_t step : {1, 10, 11, 60, 110})
    EXPECT_EQ(learning_rate_at(config, 110, step), learning_rate_at(linear, 110, step)) << step;
  config.schedule.decay_fraction = 0;
  EXPECT_EQ(learning_rate_at(config, 110, 110), 1.0);
}

TEST(LearningRate, WithoutWarmUpStartsAtThePeak) {
  OptimConfig config;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 10, 1), config.learning_rate);
}

TEST(WeightDecay, StaysOrFallsFromTheFirstUpdateToZeroAtTheLast) {
  OptimConfig config;
  for (const std::int64_t step : {1, 60, 110})
    EXPECT_EQ(weight_decay_scale_at(config, 110, step), 1);
  config.decay_schedule = DecaySchedule::linear;
  EXPECT_EQ(weight_decay_scale_at(config, 101, 1), 1);
  EXPECT_DOUBLE_EQ(weight_decay_scale_at(config, 101, 26), 0.75);
  EXPECT_EQ(weight_decay_scale_at(config, 101, 101), 0);
  EXPECT_EQ(weight_decay_scale_at(config, 101, 200), 0) << "a run that went on";
  EXPECT_EQ(weight_decay_scale_at(config, 1, 1), 1) << "a run of one update";
}

TEST(Optimizer, AnUpdatesScaleIsThatOfItsGradientsAndDecays) {
  OptimConfig config, half;
  config.weight_decay = 0.4;
  half.weight_decay = 0.1;
  auto a = at::linspace(-1, 1, 5, options_of(at::kDouble)), b = a.clone();
  Optimizer scaled(config, a), plain(half, b);
  for (int update = 1; update <= 3; ++update) {
    auto g = (a * update).sin_(), doubled = g * 2;
    scaled.step(a, doubled, 0.01, {.gradient = 0.5, .weight_decay = 0.25});
    plain.step(b, g, 0.01);
  }
  EXPECT_TRUE(a.equal(b));
}

TEST(Gradients, NormIsSummedInDouble) {
  const auto gradients = at::full({200'001}, 0.1F, options_of(at::kFloat));
  const auto norm = l2_norm(gradients);
  EXPECT_NEAR(norm, static_cast<double>(0.1F) * std::sqrt(200'001.0), 1e-9);
}

TEST(Gradients, ClippingScalesANormDownToItsBoundAndLeavesASmallerOne) {
  EXPECT_DOUBLE_EQ(clip_scale(4.0, 1.0) * 4.0, 1.0);
  EXPECT_EQ(clip_scale(0.5, 1.0), 1.0);
}

TEST(Optimizer, FiveStepsEqualTheFormulaInDouble) {
  OptimConfig config;
  config.weight_decay = 0.1;
  const std::vector<double> start{1.0, -0.5, 0.25, 0.0};
  auto parameters = at::tensor(start, options_of(at::kFloat));
  Optimizer optimizer(config, parameters);
  auto p = start;
  std::vector<double> m(4), v(4);
  for (int step = 1; step <= 5; ++step) {
    std::vector<double> g{0.1 * step, -1.0, std::sin(step), 0.0};
    auto gradients = at::tensor(g, options_of(at::kFloat));
    optimizer.step(parameters, gradients, 0.01);
    for (std::size_t i = 0; i < 4; ++i) {
      p[i] *= 1 - 0.01 * 0.1;
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
      const auto mean = m[i] / (1 - std::pow(0.9, step)),
                 square = v[i] / (1 - std::pow(0.999, step));
      p[i] -= 0.01 * mean / (std::sqrt(square) + 1e-8);
      EXPECT_NEAR(parameters[static_cast<std::int64_t>(i)].item<double>(), p[i], kFloatSteps);
    }
  }
  EXPECT_EQ(optimizer.steps, 5);
}

/// Five values and the optimizer that learns them from gradients of their own for each update.
struct Learner {
  Learner()
      : parameters(at::linspace(-1, 1, 5, options_of(at::kDouble))),
        optimizer(config(), parameters) {}

  static OptimConfig config() {
    OptimConfig config;
    config.betas = {0.8, 0.95};  // not the defaults, which a restored one might fall back to
    return config;
  }
  void learn(std::int64_t updates) {
    for (std::int64_t i = 0; i < updates; ++i) {
      auto gradients = (parameters * static_cast<double>(optimizer.steps + 1)).sin_();
      optimizer.step(parameters, gradients, 0.01);
    }
  }
  void take_over(const Learner& other) {
    parameters.copy_(other.parameters);
    optimizer.state("exp_avg").copy_(other.optimizer.state("exp_avg"));
    optimizer.state("exp_avg_sq").copy_(other.optimizer.state("exp_avg_sq"));
    optimizer.steps = other.optimizer.steps;
  }

  at::Tensor parameters;
  Optimizer optimizer;
};

TEST(Optimizer, GoesOnFromItsMomentsAndCountAsIfNeverStopped) {
  Learner whole, stopped, resumed;
  whole.learn(7);
  stopped.learn(3);
  resumed.take_over(stopped);
  resumed.learn(4);
  EXPECT_EQ(resumed.optimizer.steps, 7);
  EXPECT_TRUE(resumed.parameters.equal(whole.parameters));
  EXPECT_TRUE(resumed.optimizer.state("exp_avg").equal(whole.optimizer.state("exp_avg")));
  EXPECT_TRUE(resumed.optimizer.state("exp_avg_sq").equal(whole.optimizer.state("exp_avg_sq")));
}

TEST(Optimizer, TheCountGivesTheBiasPowersOfTheNextUpdate) {
  // With gradient 0 the next update moves by rate * m b1 / (1 - b1^t) / (sqrt(v b2 / (1 - b2^t))).
  for (const std::int64_t done : {0, 1, 9, 100'000}) {
    Learner learner;
    learner.optimizer.state("exp_avg").fill_(0.5);
    learner.optimizer.state("exp_avg_sq").fill_(4);
    learner.optimizer.steps = done;
    const auto before = learner.parameters.clone();
    auto gradients = at::zeros_like(before);
    learner.optimizer.step(learner.parameters, gradients, 0.01);
    const auto t = static_cast<double>(done + 1);
    const auto mean = 0.5 * 0.8 / (1 - std::pow(0.8, t));
    const auto square = 4 * 0.95 / (1 - std::pow(0.95, t));
    const auto expected =
        before * (1 - 0.01 * Learner::config().weight_decay) - 0.01 * mean / std::sqrt(square);
    EXPECT_TRUE(learner.parameters.allclose(expected, /*rtol=*/0, kSmallEps)) << done;
  }
}

OptimizerPlan plan_of(std::vector<OptimizerGroup> groups) { return {std::move(groups), {}}; }

TEST(Optimizer, EachGroupIsUpdatedAsIfItWereAlone) {
  OptimConfig config;
  auto together = at::linspace(-1, 1, 9, options_of(at::kDouble));
  auto slow = together.narrow(0, 0, 4).clone(), decayed = together.narrow(0, 4, 5).clone();
  Optimizer optimizer(config, plan_of({{{0, 4}, 0.5, 0}, {{4, 5}, 1, 0.3}}), together);
  Optimizer of_slow(config, plan_of({{{0, 4}, 1, 0}}), slow);
  Optimizer of_decayed(config, plan_of({{{0, 5}, 1, 0.3}}), decayed);
  for (int update = 1; update <= 3; ++update) {
    auto gradients = (together * update).sin_();
    auto first = gradients.narrow(0, 0, 4).clone(), second = gradients.narrow(0, 4, 5).clone();
    optimizer.step(together, gradients, 0.01);
    of_slow.step(slow, first, 0.005);
    of_decayed.step(decayed, second, 0.01);
  }
  EXPECT_TRUE(together.narrow(0, 0, 4).equal(slow));
  EXPECT_TRUE(together.narrow(0, 4, 5).equal(decayed));
}

TEST(Optimizer, RefusesGroupsThatLeaveOutOrRepeatAParameter) {
  const OptimConfig config;
  const auto parameters = at::zeros({9});
  for (const auto& groups :
       std::vector<std::vector<OptimizerGroup>>{{},
                                                {{{0, 4}, 1, 0}},
                                                {{{0, 4}, 1, 0}, {{5, 4}, 1, 0}},
                                                {{{0, 5}, 1, 0}, {{4, 5}, 1, 0}}})
    EXPECT_THROW(Optimizer(config, plan_of(groups), parameters), c10::Error);
}

TEST(Optimizer, ItsStateIsNamedAndAsLongAsTheParameters) {
  const Learner learner;
  ASSERT_EQ(learner.optimizer.state().size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(learner.optimizer.state()[i].name, i == 0 ? "exp_avg" : "exp_avg_sq");
    EXPECT_EQ(learner.optimizer.state()[i].values.numel(), learner.parameters.numel());
  }
}

}  // namespace
}  // namespace moe
