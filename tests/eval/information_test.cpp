#include "moe/eval/information.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "moe/base/error.h"
#include "tests/eval/small_model.h"

namespace moe {
namespace {

using namespace test;

constexpr double kCounting = 1e-12;  // a few roundings of numbers near 1

TEST(PairCounts, AChoiceThatFollowsFromTheValueIsAllKnown) {
  PairCounts counts;
  for (std::int64_t i = 0; i < 600; ++i) counts.add(i % 6 % 3, i % 6);
  const auto found = counts.information();
  EXPECT_EQ(found.tokens, 600);
  EXPECT_NEAR(found.entropy, std::log(3) + 2 / 1200.0,
              kCounting);  // Miller and Madow: + (3 - 1) / 2N
  EXPECT_NEAR(found.information, found.entropy, kCounting);
  EXPECT_NEAR(found.share(), 1, kCounting);
}

TEST(PairCounts, ProductsOfSharesHoldNoInformation) {
  PairCounts counts;
  for (std::int64_t i = 0; i < 600; ++i) counts.add(i % 3, i / 3 % 5);
  const auto found = counts.information();
  EXPECT_EQ(found.information, 0);
  EXPECT_EQ(found.share(), 0);
  EXPECT_NEAR(found.bias, (15.0 - 3 - 5 + 1) / 1200, kCounting);
}

TEST(PairCounts, IndependentDrawsHoldNoneButTheNoiseOfTheEstimate) {
  constexpr std::int64_t kDraws = 4000, kSides = 4, kValues = 10;
  std::mt19937 draws(7);
  PairCounts counts;
  for (std::int64_t i = 0; i < kDraws; ++i) {
    const auto expert = static_cast<std::int64_t>(draws() % kSides);
    counts.add(expert, static_cast<std::int64_t>(draws() % kValues));
  }
  // 2 N times the plug-in estimate is about chi-square of (4 - 1) * (10 - 1) = 27 degrees: its mean
  // is the bias, and three of its standard deviations sqrt(2 * 27) bound what is left.
  const auto found = counts.information();
  EXPECT_NEAR(found.bias, 27.0 / (2 * kDraws), kCounting);
  EXPECT_LE(found.information, 3 * std::sqrt(2 * 27.0) / (2 * kDraws));
}

TEST(PairCounts, OfOneExpertHaveNoShare) {
  PairCounts counts;
  for (std::int64_t i = 0; i < 20; ++i) counts.add(0, i % 4);
  EXPECT_EQ(counts.information().entropy, 0);
  EXPECT_TRUE(std::isnan(counts.information().share()));
  EXPECT_TRUE(std::isnan(PairCounts().information().share()));
}

TEST(RoutingInformation, OfARouterThatSeesTheSymbolAloneIsAllOfItsChoice) {
  auto model = small_model();
  silence_attention(model, 0);
  const at::NoGradGuard no_grad;
  model->position_table().zero_();
  // A text in which nothing but the symbol itself tells which it is.
  Tokens tokens;
  std::mt19937 draws(3);
  for (int i = 0; i < 4000; ++i)
    tokens.push_back(static_cast<std::int32_t>(draws() % static_cast<unsigned>(kVocabularySize)));
  const auto layer = routing_information(model, tokens, kWholeSplit).front();
  ASSERT_GT(layer.symbol.entropy, 0);
  EXPECT_NEAR(layer.symbol.share(), 1, kCounting);
  for (const auto* other : {&layer.previous, &layer.next, &layer.position})
    EXPECT_LT(other->share(), 0.02);  // noise of the estimate: about 1 / sqrt(tokens)
}

TEST(RoutingInformation, CountsEachTokenOnceAndPredecessorsThatTheWindowShows) {
  auto model = small_model();
  const auto layers = routing_information(model, cyclic_tokens(301), kWholeSplit);
  ASSERT_EQ(layers.size(), static_cast<std::size_t>(kLayers));
  const std::int64_t windows = (300 + kContext - 1) / kContext;
  for (const auto& layer : layers) {
    EXPECT_EQ(layer.symbol.tokens, 300);
    EXPECT_EQ(layer.next.tokens, 300);
    EXPECT_EQ(layer.position.tokens, 300);
    EXPECT_EQ(layer.previous.tokens, 300 - windows);
  }
}

TEST(RoutingInformation, OfATextWhereEachSymbolFollowsFromTheLastIsTheSameForBoth) {
  auto model = small_model();
  for (const auto& layer : routing_information(model, cyclic_tokens(301), kWholeSplit))
    EXPECT_EQ(layer.symbol.information, layer.next.information);
}

TEST(RoutingInformation, OfDivergedWeightsIsANumericsError) {
  auto model = small_model();
  const at::NoGradGuard no_grad;
  model->parameters().front().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(routing_information(model, cyclic_tokens(50), kWholeSplit), NumericsError);
}

}  // namespace
}  // namespace moe
