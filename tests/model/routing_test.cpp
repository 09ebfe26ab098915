// Gates and choices.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

#include "moe/model/moe.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

constexpr Gate kGates[] = {Gate::topk_softmax, Gate::softmax_topk, Gate::sigmoid};
constexpr Gate kNormalisedGates[] = {Gate::topk_softmax, Gate::sigmoid};
constexpr std::int64_t kTokens = 50;

/// A division and a sum of K values of at most 1 in float.
constexpr double kFloatSum = 1e-6;

MoeConfig moe_config(std::int64_t experts, std::int64_t top_k, Gate gate) {
  MoeConfig config;
  config.num_experts = experts;
  config.top_k = top_k;
  config.gate = gate;
  return config;
}

Routing routed(const at::Tensor& logits, const MoeConfig& config, const at::Tensor& bias = {}) {
  ModelConfig model;
  model.moe = config;
  return route_by_logits(logits, spec_of(model, kVocab).layers.front().feed_forward, bias);
}

std::string text_of(std::int64_t experts, std::int64_t top_k, Gate gate) {
  return "E " + std::to_string(experts) + ", K " + std::to_string(top_k) + ", gate " +
         std::to_string(static_cast<int>(gate));
}

/// Calls `check(logits, config)` for every K of several E.
template <class Gates, class Check>
void for_every_shape(const Gates& gates, const Check& check) {
  at::manual_seed(7);
  for (const auto gate : gates)
    for (const std::int64_t e : {1, 2, 3, 8})
      for (std::int64_t k = 1; k <= e; ++k) {
        SCOPED_TRACE(text_of(e, k, gate));
        check(random_values({kTokens, e}), moe_config(e, k, gate));
      }
}

TEST(Routing, GatesOfTheChosenSumToOne) {
  for_every_shape(kNormalisedGates, [](const at::Tensor& logits, const MoeConfig& config) {
    const auto sums = routed(logits, config).gates.sum(-1);
    EXPECT_LE(relative_error(sums, at::ones_like(sums)), kDouble);
  });
}

TEST(Routing, SoftmaxTopkGatesAreTheValuesOfTheFullSoftmax) {
  for_every_shape(
      std::array{Gate::softmax_topk}, [](const at::Tensor& logits, const MoeConfig& config) {
        const auto routing = routed(logits, config);
        const auto scores = logits.exp() / logits.exp().sum(-1, /*keepdim=*/true);
        EXPECT_LE(relative_error(routing.gates, scores.gather(1, routing.experts)), kDouble);
      });
}

TEST(Routing, ExpertsAreTheLargestAndDistinctInARow) {
  for_every_shape(kGates, [](const at::Tensor& logits, const MoeConfig& config) {
    const auto experts = routed(logits, config).experts;
    ASSERT_EQ(experts.sizes(), (std::vector<std::int64_t>{kTokens, config.top_k}));
    const auto chosen = at::zeros_like(logits).scatter(1, experts, 1);
    EXPECT_TRUE(chosen.sum(-1).eq(config.top_k).all().item<bool>()) << "an expert twice in a row";
    const auto worst = logits.gather(1, experts).amin(-1, /*keepdim=*/true);
    EXPECT_TRUE((chosen.eq(1) | logits.lt(worst)).all().item<bool>()) << "a larger one left out";
  });
}

TEST(Routing, EqualLogitsStillChooseDistinctExpertsOfEqualWeight) {
  for_every_shape(kNormalisedGates, [](const at::Tensor& logits, const MoeConfig& config) {
    const auto routing = routed(at::zeros_like(logits), config);
    const auto share = at::full_like(routing.gates, 1 / static_cast<double>(config.top_k));
    EXPECT_LE(relative_error(routing.gates, share), kDouble);
    const auto chosen = at::zeros_like(logits).scatter(1, routing.experts, 1);
    EXPECT_TRUE(chosen.sum(-1).eq(config.top_k).all().item<bool>());
  });
}

TEST(Routing, GatesOfFarLogitsStillSumToOne) {
  // exp(-200) is 0 in float: sums over such values must not be divided by.
  for (const auto gate : kNormalisedGates)
    for (const double middle : {-200.0, 200.0}) {
      SCOPED_TRACE(text_of(4, 2, gate) + ", around " + std::to_string(middle));
      const auto logits =
          at::tensor({0.0, 1.0, 2.0, 3.0}, at::kFloat).add(middle).unsqueeze(0).to(test_device());
      const auto sums = routed(logits, moe_config(4, 2, gate)).gates.sum(-1);
      EXPECT_LE(relative_error(sums, at::ones_like(sums)), kFloatSum);
    }
}

/// Largest gradient of the router's weight in a model of one choice a token.
double router_gradient(Gate gate, Kernels kernels) {
  at::manual_seed(7);
  auto config = tiny_config();
  config.kernels = kernels;
  config.moe.top_k = 1;
  config.moe.gate = gate;
  config.moe.router = RouterKind::topk;
  Built built(config);
  const auto ids = random_ids(2, 6), targets = random_ids(2, 6);
  built.model->forward(ids, targets, context_of(ids, /*training=*/true)).loss.backward();
  return built.gradient("blocks.1.smoe.router.linear.weight").abs().max().item<double>();
}

TEST(Routing, ATopOneRouterLearnsThroughTheFullSoftmaxAndNotThroughItsOwn) {
  for (const auto kernels : {Kernels::fast, Kernels::reference}) {
    EXPECT_GT(router_gradient(Gate::softmax_topk, kernels), 1e-5);
    // The softmax of one value is 1 whatever it is: why a config with it is refused.
    EXPECT_EQ(router_gradient(Gate::topk_softmax, kernels), 0);
  }
}

}  // namespace
}  // namespace moe
