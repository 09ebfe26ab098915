#include "moe/eval/saturation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "moe/base/error.h"
#include "moe/eval/evaluator.h"
#include "moe/eval/inspect.h"
#include "tests/eval/small_model.h"

namespace moe {
namespace {

using namespace test;

constexpr double kLogitRounding = 1e-6;  // logits near 1

TEST(SharedChoices, OfAModelWithItselfAreAll) {
  auto model = small_model();
  const auto choices = split_choices(model, cyclic_tokens(301), kWholeSplit);
  EXPECT_EQ(choices.tokens, 300);
  EXPECT_EQ(shared_choices(choices, choices), std::vector<double>(kLayers, 1.0));
}

TEST(SharedChoices, AreTheShareOfExpertsThatATokenHasInBothInAnyOrder) {
  const SplitChoices a{2, 2, {{0, 1, 2, 3}}, {0}};
  EXPECT_EQ(shared_choices(a, {2, 2, {{1, 0, 3, 2}}, {0}}), std::vector{1.0});
  EXPECT_EQ(shared_choices(a, {2, 2, {{1, 4, 3, 2}}, {0}}), std::vector{0.75});
  EXPECT_EQ(shared_choices(a, {2, 2, {{2, 3, 0, 1}}, {0}}), std::vector{0.0});
}

TEST(SharedChoices, OfRoutersThatPreferOthersAreNone) {
  auto a = small_model(), b = small_model();
  set_logits(a, 0, {4, 3, 2, 1, 0});
  set_logits(b, 0, {0, 1, 2, 3, 4});
  const auto tokens = cyclic_tokens(100);
  EXPECT_EQ(shared_choices(split_choices(a, tokens, kWholeSplit),
                           split_choices(b, tokens, kWholeSplit))[0],
            0);
}

TEST(SplitChoices, AreThoseThatAnEvaluationCounts) {
  auto model = small_model();
  const auto tokens = cyclic_tokens(301);
  auto tallies = make_tallies(model);
  evaluate_full(model, tokens, 42, 0, {}, &tallies);
  const auto choices = split_choices(model, tokens, kWholeSplit);
  for (std::size_t layer = 0; layer < choices.experts.size(); ++layer) {
    Counts load(kExperts);
    for (const auto expert : choices.experts[layer]) ++load[static_cast<std::size_t>(expert)];
    EXPECT_EQ(load, tallies[layer].load);
  }
}

TEST(SplitChoices, TheMarginIsThatOfTheLastChosenLogitOverTheNext) {
  auto model = small_model();
  set_logits(model, 0, {0.25, 3, 1.5, -2, 1});
  EXPECT_NEAR(split_choices(model, cyclic_tokens(100), kWholeSplit).margin[0], 0.5, kLogitRounding);
}

TEST(SplitChoices, WhereAllAreChosenThereIsNoMargin) {
  auto config = small_config();
  config.moe.top_k = kExperts;
  auto model = small_model(config);
  EXPECT_TRUE(std::isnan(split_choices(model, cyclic_tokens(50), kWholeSplit).margin[0]));
}

TEST(SplitChoices, OfDivergedWeightsAreANumericsError) {
  auto model = small_model();
  const at::NoGradGuard no_grad;
  model->parameters().front().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(split_choices(model, cyclic_tokens(50), kWholeSplit), NumericsError);
}

}  // namespace
}  // namespace moe
