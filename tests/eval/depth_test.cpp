#include "moe/eval/depth.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "moe/base/error.h"
#include "moe/eval/evaluator.h"
#include "tests/eval/small_model.h"

namespace moe {
namespace {

using namespace test;

TEST(LossesByDepth, EndWithTheLossOfAnEvaluationBitForBit) {
  const auto tokens = cyclic_tokens(301);
  for (const auto kernels : {Kernels::fast, Kernels::reference}) {
    auto config = small_config();
    config.kernels = kernels;
    config.moe.noise_in_eval = true;
    auto model = small_model(config);
    const auto losses = losses_by_depth(model, tokens, kWholeSplit);
    EXPECT_EQ(losses.tokens, 300);
    EXPECT_EQ(losses.mixture.size(), static_cast<std::size_t>(kLayers));
    EXPECT_EQ(losses.mixture.back(), evaluate_full(model, tokens, 42).loss);
  }
}

TEST(LossesByDepth, DoNotChangeWhereALayerAddsNothing) {
  auto model = small_model();
  silence_attention(model, 1);
  silence_experts(model, 1);
  const auto losses = losses_by_depth(model, cyclic_tokens(100), kWholeSplit);
  EXPECT_NE(losses.attention[0], losses.embedding);
  EXPECT_NE(losses.mixture[0], losses.attention[0]);
  EXPECT_EQ(losses.attention[1], losses.mixture[0]);
  EXPECT_EQ(losses.mixture[1], losses.mixture[0]);
}

TEST(LossesByDepth, TakeAsManyWindowsAsAskedFor) {
  auto model = small_model();
  const auto tokens = cyclic_tokens(301);
  SplitRequest some = kWholeSplit;
  some.max_windows = 5;
  const auto losses = losses_by_depth(model, tokens, some);
  EXPECT_EQ(losses.tokens, 5 * kContext);
  EXPECT_EQ(losses.mixture.back(), evaluate_full(model, tokens, 42, 5).loss);
}

TEST(LossesByTopK, AreThoseOfModelsOfThatTopKWithTheSameWeights) {
  auto config = small_config();
  for (const auto gate : {Gate::topk_softmax, Gate::softmax_topk, Gate::sigmoid}) {
    config.moe.gate = gate;
    config.moe.top_k = kTopK;
    const auto tokens = cyclic_tokens(203);
    const auto losses = losses_by_top_k(small_model(config), config, tokens, kWholeSplit);
    ASSERT_EQ(losses.size(), static_cast<std::size_t>(kExperts));
    for (std::int64_t k = 1; k <= kExperts; ++k) {
      config.moe.top_k = k;
      auto model = small_model(config);
      EXPECT_EQ(losses[static_cast<std::size_t>(k - 1)], evaluate_full(model, tokens, 42).loss);
    }
  }
}

TEST(LossesByTopK, AreAllTheSameWhereTheExpertsAre) {
  auto model = small_model();
  for (std::int64_t layer = 0; layer < kLayers; ++layer) make_experts_equal(model, layer);
  const auto losses = losses_by_top_k(model, small_config(), cyclic_tokens(203), kWholeSplit);
  for (const auto loss : losses) EXPECT_NEAR(loss, losses.front(), kLossRounding);
}

TEST(LossesByTopK, OfOneExpertAreOneLoss) {
  auto config = small_config();
  config.moe.num_experts = config.moe.top_k = 1;
  auto model = small_model(config);
  const auto tokens = cyclic_tokens(50);
  EXPECT_EQ(losses_by_top_k(model, config, tokens, kWholeSplit),
            std::vector{evaluate_full(model, tokens, 42).loss});
}

TEST(LossesByTopK, LeaveTheModelAsItWas) {
  auto model = small_model();
  const auto before = snapshot(model);
  losses_by_top_k(model, small_config(), cyclic_tokens(50), kWholeSplit);
  EXPECT_TRUE(are_equal(before, snapshot(model)));
}

TEST(LossesByDepth, OfDivergedWeightsAreANumericsError) {
  auto model = small_model();
  const at::NoGradGuard no_grad;
  model->parameters().front().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(losses_by_depth(model, cyclic_tokens(50), kWholeSplit), NumericsError);
  EXPECT_THROW(losses_by_top_k(model, small_config(), cyclic_tokens(50), kWholeSplit),
               NumericsError);
}

}  // namespace
}  // namespace moe
