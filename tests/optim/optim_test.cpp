#include "moe/optim/optim.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace moe {
namespace {

// One rounding to float a step on values near 1, five steps.
constexpr double kFloatSteps = 2e-6;

OptimConfig schedule_of(ScheduleKind kind) {
  OptimConfig config;
  config.learning_rate = 1.0;
  config.schedule = {kind, 10, 0.1};
  return config;
}

TEST(LearningRate, RisesLinearlyThroughTheWarmUp) {
  for (const auto kind : {ScheduleKind::constant, ScheduleKind::cosine, ScheduleKind::linear}) {
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(kind), 110, 1), 0.1);
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(kind), 110, 5), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate_at(schedule_of(kind), 110, 10), 1.0);
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

TEST(LearningRate, WithoutWarmUpStartsAtThePeak) {
  OptimConfig config;
  EXPECT_DOUBLE_EQ(learning_rate_at(config, 10, 1), config.learning_rate);
}

TEST(Gradients, NormIsSummedInDoubleAndClippedToItsBound) {
  auto gradients = at::full({200'001}, 0.1F);
  const auto norm = l2_norm(gradients);
  EXPECT_NEAR(norm, static_cast<double>(0.1F) * std::sqrt(200'001.0), 1e-9);
  clip_gradients(gradients, norm, 1.0);
  EXPECT_NEAR(l2_norm(gradients), 1.0, 1e-5);
  const auto before = gradients.clone();
  clip_gradients(gradients, l2_norm(gradients), 2.0);
  EXPECT_TRUE(gradients.equal(before));
}

TEST(AdamW, FiveStepsEqualTheFormulaInDouble) {
  OptimConfig config;
  config.weight_decay = 0.1;
  const std::vector<double> start{1.0, -0.5, 0.25, 0.0};
  auto parameters = at::tensor(start, at::kFloat);
  AdamW optimizer(config, parameters);
  auto p = start;
  std::vector<double> m(4), v(4);
  for (int step = 1; step <= 5; ++step) {
    std::vector<double> g{0.1 * step, -1.0, std::sin(step), 0.0};
    auto gradients = at::tensor(g, at::kFloat);
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

}  // namespace
}  // namespace moe
