#include "moe/eval/inspect.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <vector>

#include "moe/base/error.h"
#include "moe/eval/evaluator.h"
#include "tests/eval/small_model.h"

namespace moe {
namespace {

using namespace test;

// Sums of a few hundred float figures: the kernels agree to rounding as long as no choice flips.
constexpr double kFloatFigures = 1e-4;

SparseMoELanguageModel model_with(Kernels kernels, bool noise) {
  auto config = small_config();
  config.kernels = kernels;
  config.moe.noise_in_eval = noise;
  return small_model(config);
}

RoutingTallies tallies_of(SparseMoELanguageModel model, const Tokens& tokens) {
  auto tallies = make_tallies(model);
  evaluate_full(model, tokens, 42, 0, {}, &tallies);
  return tallies;
}

TEST(Tallies, HoldTheLoadThatTheEvaluationReports) {
  auto model = small_model();
  const auto tokens = cyclic_tokens(301);
  auto tallies = make_tallies(model);
  const auto result = evaluate_full(model, tokens, 42, 0, {}, &tallies);
  ASSERT_EQ(tallies.size(), static_cast<std::size_t>(kLayers));
  for (std::size_t layer = 0; layer < tallies.size(); ++layer) {
    const auto& tally = tallies[layer];
    EXPECT_EQ(tally.tokens, 300);
    EXPECT_EQ(std::accumulate(tally.load.begin(), tally.load.end(), std::int64_t{0}), 300 * kTopK);
    EXPECT_EQ(health_of(tally).load, result.expert_load[layer]);
  }
}

TEST(Tallies, CountEachSymbolOfTheTextTopKTimes) {
  const auto tokens = cyclic_tokens(301);
  std::vector<std::int64_t> wanted(kVocabularySize);
  for (std::size_t i = 0; i + 1 < tokens.size(); ++i)
    wanted[static_cast<std::size_t>(tokens[i])] += kTopK;
  for (const auto& tally : tallies_of(small_model(), tokens)) {
    std::vector<std::int64_t> counted(kVocabularySize);
    for (const auto& row : tally.symbol_map)
      for (std::size_t s = 0; s < row.size(); ++s) counted[s] += row[s];
    EXPECT_EQ(counted, wanted);
  }
}

TEST(Tallies, OfFastAndReferenceKernelsAgree) {
  const auto tokens = cyclic_tokens(203);  // the last window has 2 tokens: taken one by one
  for (const bool noise : {false, true}) {
    const auto fast = tallies_of(model_with(Kernels::fast, noise), tokens);
    const auto reference = tallies_of(model_with(Kernels::reference, noise), tokens);
    for (std::size_t layer = 0; layer < fast.size(); ++layer) {
      EXPECT_EQ(fast[layer].load, reference[layer].load);
      EXPECT_EQ(fast[layer].symbol_map, reference[layer].symbol_map);
      EXPECT_EQ(fast[layer].co_activation, reference[layer].co_activation);
      const auto a = health_of(fast[layer]), b = health_of(reference[layer]);
      for (const auto& [name, value] : kHealthFigures)
        EXPECT_NEAR(a.*value, b.*value, kFloatFigures) << name;
    }
  }
}

TEST(Tallies, AskingForThemChangesNoBitOfTheLoss) {
  auto model = model_with(Kernels::fast, /*noise=*/true);
  const auto tokens = cyclic_tokens(301);
  auto tallies = make_tallies(model);
  EXPECT_EQ(evaluate_full(model, tokens, 1, 0, {}, &tallies).loss,
            evaluate_full(model, tokens, 1).loss);
  EXPECT_EQ(evaluate_random(model, tokens, 1, 3, 4, {}, &tallies).loss,
            evaluate_random(model, tokens, 1, 3, 4).loss);
  EXPECT_EQ(tallies.front().tokens, 300 + 3 * 4 * 8);
}

TEST(PromptRoutes, AreThoseOfAnEvaluationOfTheSameWindow) {
  auto model = small_model();
  const Tokens window{1, 4, 4, 0, 6, 2, 3};
  const auto routes = prompt_routes(model, window, 9);
  ASSERT_EQ(routes.size(), window.size());
  auto text = window;
  text.push_back(0);  // a last target, which is not routed
  const auto tallies = tallies_of(model, text);
  for (std::size_t layer = 0; layer < static_cast<std::size_t>(kLayers); ++layer) {
    Counts load(kExperts);
    for (const auto& token : routes) {
      const auto& [experts, gates] = token[layer];
      ASSERT_EQ(experts.size(), static_cast<std::size_t>(kTopK));
      EXPECT_NEAR(gates[0] + gates[1], 1, 1e-6);
      EXPECT_GE(gates[0], gates[1]);
      for (const auto expert : experts) ++load[static_cast<std::size_t>(expert)];
    }
    EXPECT_EQ(load, tallies[layer].load);
  }
}

TEST(PromptRoutes, AGateThatIsNotFiniteIsANumericsError) {
  auto model = small_model();
  const at::NoGradGuard no_grad;
  model->parameters().front().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(prompt_routes(model, std::vector<std::int32_t>{1}, 9), NumericsError);
}

TEST(RoutingJson, HasNullForTheNoiseOfARouterWithoutAny) {
  RoutingTallies tallies{RoutingTally(2, 2)};
  const std::vector<std::int64_t> experts{1};
  const std::vector<double> gates{1}, logits{0, 1};
  tallies[0].add({0, experts, gates, logits});
  const auto json = routing_to_json(tallies, CharTokenizer::from_text("ab"));
  EXPECT_EQ(json.at("tokens"), 1);
  EXPECT_EQ(json.at("symbols"), Json({"a", "b"}));
  const auto& layer = json.at("layers").at(0);
  EXPECT_EQ(layer.at("load"), Json({0, 1}));
  EXPECT_EQ(layer.at("dead"), Json::array({0}));
  EXPECT_EQ(layer.at("symbol_map"), Json({{0, 0}, {1, 0}}));
  EXPECT_TRUE(layer.at("noise_std").is_null());
  EXPECT_EQ(layer.at("max_load"), 2.0);
}

}  // namespace
}  // namespace moe
