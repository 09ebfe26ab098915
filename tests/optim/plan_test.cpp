// Which parameters are updated how, and Muon beside AdamW.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "moe/config/spec_of.h"
#include "moe/optim/optim.h"
#include "tests/support/device.h"

namespace moe {
namespace {

at::TensorOptions doubles() { return at::device(test::test_device()).dtype(at::kDouble); }

/// The groups of a model of one layer, whose rows the table tells.
struct Model {
  Model() : table(spec_of(config(), 5)) {}
  static ModelConfig config() {
    ModelConfig config;
    config.n_embed = 4;
    config.n_head = 2;
    config.n_layer = 1;
    config.block_size = 3;
    config.moe.num_experts = 2;
    return config;
  }
  ParameterTable table;
};

TEST(OptimizerGroups, OfTheDefaultsAreOne) {
  const Model model;
  const auto plan = plan_updates({}, model.table);
  const auto& groups = plan.adamw;
  EXPECT_TRUE(plan.muon.empty());
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].begin, 0);
  EXPECT_EQ(groups[0].count, model.table.count());
  EXPECT_EQ(groups[0].learning_rate_scale, 1);
  EXPECT_EQ(groups[0].weight_decay, OptimConfig().weight_decay);
}

TEST(OptimizerGroups, GiveEachRowTheRateAndDecayOfItsGroup) {
  const Model model;
  OptimConfig config;
  config.weight_decay = 0.5;
  config.groups = {{2, 0}, {3, {}}, {4, 0.1}, {1, 0}, {1, {}}, {5, 0.2}, {6, {}}};
  const auto groups = plan_updates(config, model.table).adamw;
  std::int64_t at = 0;
  std::size_t group = 0;
  for (const auto& row : model.table.rows()) {
    SCOPED_TRACE(row.name);
    if (at == groups[group].begin + groups[group].count) ++group;
    ASSERT_LT(group, groups.size());
    EXPECT_LE(groups[group].begin, at);
    EXPECT_GE(groups[group].begin + groups[group].count, at + row.numel());
    const auto has = [&](const char* part) { return row.name.find(part) != std::string::npos; };
    const GroupConfig expected = has("embedding")  ? GroupConfig{2, 0}
                                 : has("lm_head")  ? GroupConfig{3, 0.5}
                                 : has(".router.") ? GroupConfig{4, 0.1}
                                 : has("ln")       ? GroupConfig{1, 0}
                                 : has(".sa.")     ? GroupConfig{1, 0.5}
                                                   : GroupConfig{5, 0.2};
    EXPECT_EQ(groups[group].learning_rate_scale, expected.learning_rate_scale);
    EXPECT_EQ(groups[group].weight_decay, expected.weight_decay);
    at += row.numel();
  }
  // Tables; attention; experts; router; norms; head: neighbours of one kind are one.
  EXPECT_EQ(groups.size(), 6U);
}

OptimConfig muon_config(std::int64_t every = 1) {
  OptimConfig config;
  config.kind = OptimizerKind::muon;
  config.muon.every = every;
  return config;
}

TEST(MuonPlan, LeavesShortConvolutionsToAdamWWhichDecaysThem) {
  auto shape = Model::config();
  shape.short_conv = 3;
  const ParameterTable table(spec_of(shape, 5)), plain(spec_of(Model::config(), 5));
  EXPECT_EQ(plan_updates(muon_config(), table).muon.size(),
            plan_updates(muon_config(), plain).muon.size());
  auto config = muon_config();
  config.groups.norm.weight_decay = 0;
  std::int64_t decayed = 0, others = 0;
  for (const auto& group : plan_updates(config, table).adamw)
    (group.weight_decay == config.weight_decay ? decayed : others) += group.count;
  std::int64_t decayed_before = 0;
  for (const auto& group : plan_updates(config, plain).adamw)
    if (group.weight_decay == config.weight_decay) decayed_before += group.count;
  EXPECT_EQ(decayed - decayed_before, 2 * 4 * 3);
  EXPECT_GT(others, 0);
}

TEST(MuonPlan, TakesTheMatricesOfAttentionAndExpertsAndLeavesTheRestToAdamW) {
  const Model model;
  const auto plan = plan_updates(muon_config(), model.table);
  const auto stretch_of = [&](const std::string& name) {
    Stretch stretch{0, 0};
    for (const auto& row : model.table.rows()) {
      stretch.count = row.numel();
      if (row.name == name) return stretch;
      stretch.begin += row.numel();
    }
    throw std::runtime_error("no row " + name);
  };
  struct Expected {
    const char* name;
    std::int64_t rows, columns;
  };
  const std::vector<Expected> matrices{{"blocks.0.sa.qkv", 4, 4},
                                       {"blocks.0.sa.proj.weight", 4, 4},
                                       {"blocks.0.smoe.w1", 16, 4},
                                       {"blocks.0.smoe.w2", 4, 16}};
  ASSERT_EQ(plan.muon.size(), matrices.size());
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    const auto stretch = stretch_of(matrices[i].name);
    EXPECT_EQ(plan.muon[i].begin, stretch.begin) << matrices[i].name;
    EXPECT_EQ(plan.muon[i].count, stretch.count) << matrices[i].name;
    EXPECT_EQ(plan.muon[i].rows, matrices[i].rows) << matrices[i].name;
    EXPECT_EQ(plan.muon[i].columns, matrices[i].columns) << matrices[i].name;
    EXPECT_EQ(plan.muon[i].weight_decay, MuonConfig().weight_decay);
  }
  for (const auto& group : plan.adamw) EXPECT_EQ(group.weight_decay, OptimConfig().weight_decay);
  Optimizer covers_all(muon_config(), plan, at::zeros({model.table.count()}));
}

TEST(MuonPlan, SharedExpertsAreMatricesOfTheirOwnAndTheirGateIsAdamWs) {
  auto config = Model::config();
  const auto matrices = [&] {
    std::int64_t count = 0;
    const ParameterTable table(spec_of(config, 5));
    for (const auto& group : plan_updates(muon_config(), table).muon)
      count += group.count / (group.rows * group.columns);
    return count;
  };
  const auto without = matrices();
  config.moe.shared_experts = 3;
  EXPECT_EQ(matrices(), without + 3 * 2);
  config.moe.shared_gate = true;
  EXPECT_EQ(matrices(), without + 3 * 2);
}

TEST(MuonPlan, ExpertsTakeTurnsAndAttentionDoesNot) {
  const Model model;
  const auto stacks = plan_updates(muon_config(2), model.table).muon;
  ASSERT_EQ(stacks.size(), 4U);
  for (const auto& attention : {stacks[0], stacks[1]}) EXPECT_EQ(attention.every, 1);
  for (const auto& experts : {stacks[2], stacks[3]}) EXPECT_EQ(experts.every, 2);
  EXPECT_EQ(stacks[2].turn, 0) << "w1 in updates 1, 3, ...";
  EXPECT_EQ(stacks[3].turn, 1) << "w2 in updates 2, 4, ...";
}

TEST(MuonPlan, AGroupsRateAndDecayAreAlsoThoseOfItsMatrices) {
  const Model model;
  auto config = muon_config();
  config.groups.matrix = {0.5, 0.25};
  config.groups.expert = {2, {}};
  const auto stacks = plan_updates(config, model.table).muon;
  EXPECT_EQ(stacks[0].learning_rate_scale, 0.5);
  EXPECT_EQ(stacks[0].weight_decay, 0.25);
  EXPECT_EQ(stacks[2].learning_rate_scale, 2);
  EXPECT_EQ(stacks[2].weight_decay, config.muon.weight_decay);
}

TEST(MuonMomentum, RisesFromItsStartToWhatItStays) {
  auto config = muon_config();
  EXPECT_EQ(momentum_at(config, 1), 0.95);
  config.momentum_schedule = {0.75, 10};
  EXPECT_EQ(momentum_at(config, 1), 0.75);
  EXPECT_DOUBLE_EQ(momentum_at(config, 6), 0.85);
  EXPECT_EQ(momentum_at(config, 11), 0.95);
  EXPECT_EQ(momentum_at(config, 500), 0.95);
}

/// A matrix (3, 5) between two vectors, of which Muon moves the matrix.
struct MuonLearner {
  explicit MuonLearner(const OptimConfig& config, std::int64_t every = 1, std::int64_t turn = 0)
      : parameters(at::linspace(-1, 1, 19, doubles())),
        optimizer(config,
                  {{{{0, 2}, 1, 0.1}, {{17, 2}, 1, 0.1}}, {{{2, 15}, 3, 5, 2, 0.3, every, turn}}},
                  parameters) {}

  at::Tensor gradient_of_update(std::int64_t update) const {
    return (at::arange(19, doubles()) * static_cast<double>(update)).sin();
  }
  at::Tensor matrix() const { return parameters.narrow(0, 2, 15).view({1, 3, 5}); }
  void learn(std::int64_t updates, double rate) {
    for (std::int64_t i = 0; i < updates; ++i) {
      auto gradients = gradient_of_update(optimizer.steps + 1);
      optimizer.step(parameters, gradients, rate, {.gradient = 0.5, .weight_decay = 0.5});
    }
  }

  at::Tensor parameters;
  Optimizer optimizer;
};

/// In double the two forms of Newton-Schulz differ by roundings of 1e-16, enlarged by the product
/// of the steps' largest coefficients, about 2000.
constexpr double kTwoForms = 1e-11;

TEST(MuonOptimizer, MovesItsMatricesByTheFormulaAndTheOthersByAdamW) {
  auto config = muon_config();
  config.learning_rate = 0.02;
  config.muon.learning_rate = 0.01;
  config.momentum_schedule = {0.5, 2};
  MuonLearner learner(config);
  auto matrix = learner.matrix().clone(), momentum = at::zeros_like(matrix);
  auto rest = at::cat({learner.parameters.narrow(0, 0, 2), learner.parameters.narrow(0, 17, 2)});
  Optimizer adamw(config, {{{{0, 4}, 1, 0.1}}, {}}, rest);
  for (std::int64_t update = 1; update <= 4; ++update) {
    const auto gradient = learner.gradient_of_update(update);
    auto of_rest = at::cat({gradient.narrow(0, 0, 2), gradient.narrow(0, 17, 2)});
    // Half of AdamW's peak, so half of Muon's; twice by the group's scale.
    learner.learn(1, 0.01);
    kernels::muon_reference({matrix,
                             gradient.narrow(0, 2, 15).view({1, 3, 5}),
                             momentum,
                             {.learning_rate = 0.01,
                              .momentum = momentum_at(config, update),
                              .weight_decay = 0.3 * 0.5,
                              .gradient_scale = 0.5}},
                            kernels::polar_express());
    adamw.step(rest, of_rest, 0.01, {.gradient = 0.5, .weight_decay = 0.5});
    EXPECT_TRUE(learner.matrix().allclose(matrix, kTwoForms, kTwoForms)) << update;
    EXPECT_TRUE(learner.parameters.narrow(0, 0, 2).equal(rest.narrow(0, 0, 2))) << update;
    EXPECT_TRUE(learner.parameters.narrow(0, 17, 2).equal(rest.narrow(0, 2, 2))) << update;
  }
}

TEST(MuonOptimizer, AMatrixWhoseTurnItIsMovesSoManyTimesAsFarAndItsMomentumAlways) {
  MuonLearner each(muon_config()), third(muon_config(), 3, 1);
  for (std::int64_t update = 1; update <= 5; ++update) {
    third.matrix().copy_(each.matrix());
    const auto same = each.matrix().clone();
    each.learn(1, 0.0005);
    third.learn(1, 0.0005);
    EXPECT_TRUE(third.optimizer.state("momentum").equal(each.optimizer.state("momentum")));
    const auto moved = third.matrix() - same, expected = 3 * (each.matrix() - same);
    if (update == 2 || update == 5)
      EXPECT_TRUE(moved.allclose(expected, kTwoForms, kTwoForms)) << update;
    else
      EXPECT_TRUE(third.matrix().equal(same)) << update;
  }
}

TEST(MuonOptimizer, KeepsOfEachParameterWhatItsUpdateReadsAndNoMore) {
  const MuonLearner learner(muon_config());
  const auto& state = learner.optimizer.state();
  ASSERT_EQ(state.size(), 3U);
  EXPECT_EQ(learner.optimizer.state("exp_avg").numel(), 4);
  EXPECT_EQ(learner.optimizer.state("exp_avg_sq").numel(), 4);
  EXPECT_EQ(learner.optimizer.state("momentum").numel(), 15);
  const auto& average = state[0];
  EXPECT_FALSE(average.of({2, 5}).defined()) << "of the matrix";
  EXPECT_FALSE(average.of({1, 2}).defined()) << "across the end of a stretch";
  const auto second = average.of({18, 1});
  ASSERT_TRUE(second.defined());
  EXPECT_EQ(second.data_ptr(), average.values.narrow(0, 3, 1).data_ptr());
}

TEST(MuonOptimizer, WhatItKeepsIsCounted) {
  const Model model;
  auto averaging = muon_config();
  averaging.average.start = 0.5;
  for (const auto& config : {OptimConfig(), muon_config(), averaging}) {
    const Optimizer optimizer(config, plan_updates(config, model.table),
                              at::zeros({model.table.count()}));
    std::int64_t kept = 0;
    for (const auto& state : optimizer.state()) kept += state.values.numel();
    EXPECT_EQ(count_optimizer_state(config, model.table), kept);
  }
}

TEST(MuonFlops, AreThoseOfTheMatricesThatMoveOnTheAverage) {
  const Model model;
  EXPECT_EQ(count_muon_flops({}, model.table), 0);
  const auto of = [](std::int64_t rows, std::int64_t columns) {
    return kernels::count_orthogonalise_flops(rows, columns, 5);
  };
  const auto attention = 4 * of(4, 4), experts = 2 * of(16, 4) + 2 * of(4, 16);
  EXPECT_EQ(count_muon_flops(muon_config(), model.table), attention + experts);
  EXPECT_EQ(count_muon_flops(muon_config(2), model.table), attention + experts / 2);
}

}  // namespace
}  // namespace moe
