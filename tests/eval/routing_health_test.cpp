#include "moe/eval/routing_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace moe {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr double kExact = 1e-12;  // a few roundings of numbers near 1
constexpr std::int64_t kSymbols = 3;

/// What one token did; owns what TokenRouting points at.
struct Token {
  std::int64_t symbol;
  std::vector<std::int64_t> experts;
  std::vector<double> gates, logits, noise_std = {};
};

RoutingTally tally_of(std::int64_t experts, const std::vector<Token>& tokens) {
  RoutingTally tally(experts, kSymbols);
  for (const auto& token : tokens)
    tally.add({token.symbol, token.experts, token.gates, token.logits, token.noise_std});
  return tally;
}

/// Four tokens, each with two of four experts by equal logits: 0 and 1, 1 and 2, 2 and 3, 3 and 0.
RoutingTally even_tally() {
  std::vector<Token> tokens;
  for (std::int64_t i = 0; i < 4; ++i)
    tokens.push_back({i % 2, {i, (i + 1) % 4}, {0.5, 0.5}, {1, 1, 1, 1}});
  return tally_of(4, tokens);
}

/// Ten tokens, all to expert 2 of four.
RoutingTally collapsed_tally() {
  return tally_of(4, std::vector<Token>(10, {0, {2}, {1}, {-1000, -1000, 0, -1000}}));
}

TEST(Entropy, OfEqualWeightsIsTheLogarithmOfTheirNumberAndOfOneIsZero) {
  EXPECT_NEAR(entropy(std::vector<double>(5, 0.2)), std::log(5), kExact);
  EXPECT_NEAR(entropy(std::vector<double>(5, 7)), std::log(5), kExact);
  EXPECT_EQ(entropy(std::vector<double>{0, 1, 0}), 0);
  EXPECT_NEAR(entropy(std::vector<double>{0.5, 0.25, 0.25}), 1.5 * std::log(2), kExact);
}

TEST(DeadExperts, HaveLessThanAHundredthOfTheEvenShare) {
  // 800 choices over 4 experts: the even share is 200, a hundredth of it 2.
  EXPECT_THAT(dead_experts({2, 1, 0, 797}), ElementsAre(1, 2));
  EXPECT_THAT(dead_experts({200, 200, 200, 200}), IsEmpty());
  EXPECT_THAT(dead_experts({5}), IsEmpty());
}

TEST(RoutingHealth, OfAnEvenSpreadIsOneOrZero) {
  const auto health = health_of(even_tally());
  EXPECT_THAT(health.load, ElementsAre(0.25, 0.25, 0.25, 0.25));
  EXPECT_THAT(health.gate_mass, ElementsAre(0.25, 0.25, 0.25, 0.25));
  EXPECT_NEAR(health.max_load, 1, kExact);
  EXPECT_NEAR(health.max_vio, 0, kExact);
  EXPECT_NEAR(health.load_entropy, 1, kExact);
  EXPECT_NEAR(health.load_cv, 0, kExact);
  EXPECT_EQ(health.dead_experts, 0);
  EXPECT_NEAR(health.router_entropy, std::log(4), kExact);
  EXPECT_NEAR(health.top1_gate, 0.5, kExact);
  EXPECT_NEAR(health.balance_loss, 1, kExact);
  EXPECT_NEAR(health.z_loss, std::pow(1 + std::log(4), 2), kExact);
}

TEST(RoutingHealth, OfACollapsedRouterShowsIt) {
  const auto health = health_of(collapsed_tally());
  EXPECT_THAT(health.load, ElementsAre(0, 0, 1, 0));
  EXPECT_THAT(health.gate_mass, ElementsAre(0, 0, 1, 0));
  EXPECT_NEAR(health.max_load, 4, kExact);
  EXPECT_NEAR(health.max_vio, 3, kExact);
  EXPECT_NEAR(health.load_entropy, 0, kExact);
  EXPECT_NEAR(health.load_cv, std::sqrt(3), kExact);  // deviations -1, -1, 3, -1 of a mean of 1
  EXPECT_EQ(health.dead_experts, 3);
  EXPECT_NEAR(health.router_entropy, 0, kExact);
  EXPECT_NEAR(health.balance_loss, 4, kExact);
  EXPECT_NEAR(health.z_loss, 0, kExact);
}

TEST(RoutingHealth, WeighsTheFullSoftmaxAndNotTheChosenAlone) {
  // Softmax of 0, 0, ln 2 is 1/4, 1/4, 1/2; its entropy 1.5 ln 2, its logsumexp ln 4.
  const auto tally = tally_of(3, {{0, {2, 0}, {2.0 / 3, 1.0 / 3}, {0, 0, std::log(2)}, {1, 2, 3}},
                                  {1, {2, 1}, {2.0 / 3, 1.0 / 3}, {0, 0, std::log(2)}, {3, 4, 5}}});
  const auto health = health_of(tally);
  EXPECT_THAT(health.load, ElementsAre(0.25, 0.25, 0.5));
  EXPECT_NEAR(health.router_entropy, 1.5 * std::log(2), kExact);
  EXPECT_NEAR(health.z_loss, std::pow(std::log(4), 2), kExact);
  EXPECT_NEAR(health.balance_loss, 3 * (2 * 0.0625 + 0.25), kExact);
  EXPECT_NEAR(health.top1_gate, 2.0 / 3, kExact);
  EXPECT_NEAR(health.noise_std, 3, kExact);
}

TEST(RoutingHealth, GateMassIsWhatAnExpertWeighsAndNotHowOftenItIsChosen) {
  // Both experts are chosen by both tokens; expert 0 gets 0.75 and 0.5 of gates that sum to 2.
  const auto health =
      health_of(tally_of(2, {{0, {0, 1}, {0.75, 0.25}, {1, 0}}, {0, {1, 0}, {0.5, 0.5}, {0, 0}}}));
  EXPECT_THAT(health.load, ElementsAre(0.5, 0.5));
  EXPECT_NEAR(health.gate_mass[0], 0.625, kExact);
  EXPECT_NEAR(health.gate_mass[1], 0.375, kExact);
  // Gates that do not sum to 1 a token, as those of a softmax over all experts: shares do.
  const auto of_all = health_of(tally_of(2, {{0, {0}, {0.6}, {1, 0}}, {0, {1}, {0.9}, {0, 1}}}));
  EXPECT_NEAR(of_all.gate_mass[0], 0.4, kExact);
  EXPECT_NEAR(of_all.gate_mass[1], 0.6, kExact);
}

TEST(RoutingHealth, LogitsFarFromZeroStayFinite) {
  const auto health = health_of(tally_of(2, {{0, {0}, {1}, {1e4, 1e4}}}));
  EXPECT_NEAR(health.router_entropy, std::log(2), kExact);
  EXPECT_NEAR(health.z_loss, std::pow(1e4 + std::log(2), 2), 1e-4);
}

TEST(RoutingHealth, ARouterWithoutNoiseHasNoNoise) {
  EXPECT_TRUE(std::isnan(health_of(even_tally()).noise_std));
}

TEST(RoutingHealth, OneExpertIsAnEvenSpread) {
  const auto health = health_of(tally_of(1, {{0, {0}, {1}, {5}}}));
  EXPECT_EQ(health.load_entropy, 1);
  EXPECT_EQ(health.max_load, 1);
  EXPECT_EQ(health.balance_loss, 1);
  EXPECT_EQ(health.dead_experts, 0);
}

TEST(RoutingTally, CountsEachChoiceOnceBySymbolAndExpert) {
  const auto tally = even_tally();
  EXPECT_EQ(tally.tokens, 4);
  EXPECT_THAT(tally.load, ElementsAre(2, 2, 2, 2));
  EXPECT_THAT(tally.symbol_map, ElementsAre(ElementsAre(1, 1, 0), ElementsAre(1, 1, 0),
                                            ElementsAre(1, 1, 0), ElementsAre(1, 1, 0)));
}

TEST(RoutingTally, CoActivationIsSymmetricAndItsDiagonalIsTheLoad) {
  const auto tally = tally_of(3, {{0, {2, 0}, {0.5, 0.5}, {0, 0, 0}},
                                  {0, {0, 2}, {0.5, 0.5}, {0, 0, 0}},
                                  {0, {1, 0}, {0.5, 0.5}, {0, 0, 0}}});
  EXPECT_THAT(tally.co_activation,
              ElementsAre(ElementsAre(3, 1, 2), ElementsAre(1, 1, 0), ElementsAre(2, 0, 2)));
}

TEST(FrequentPairs, AreListedOnceTheMostFrequentFirst) {
  const auto pairs = frequent_pairs(even_tally(), 3);  // 0+1, 0+3, 1+2, 2+3 once each
  ASSERT_EQ(pairs.size(), 3U);
  EXPECT_EQ(pairs[0].first, 0);
  EXPECT_EQ(pairs[0].second, 1);
  EXPECT_EQ(pairs[0].tokens, 1);
  EXPECT_EQ(pairs[1].second, 3);
  EXPECT_EQ(pairs[2].first, 1);
  EXPECT_THAT(frequent_pairs(collapsed_tally(), 3), IsEmpty());
}

TEST(TellingSymbols, AreThoseOfWhichAnExpertGetsMoreThanItsShare) {
  // Expert 0 serves 3 of 4 choices: of symbol 1 it gets 2 of 2, of symbol 0 its half only.
  const auto tally = tally_of(
      2,
      {{0, {0}, {1}, {0, 0}}, {0, {1}, {1}, {0, 0}}, {1, {0}, {1}, {0, 0}}, {1, {0}, {1}, {0, 0}}});
  EXPECT_THAT(telling_symbols(tally, 5), ElementsAre(ElementsAre(1), ElementsAre(0)));
  EXPECT_THAT(telling_symbols(tally, 0), ElementsAre(IsEmpty(), IsEmpty()));
}

TEST(ListedSymbols, AreAllOfASmallVocabulary) {
  RoutingTally tally(2, 3);
  tally.add({2, std::vector<std::int64_t>{1}, std::vector<double>{1}, std::vector<double>{0, 1}});
  EXPECT_THAT(listed_symbols({tally}, 3), ElementsAre(0, 1, 2));
}

TEST(ListedSymbols, OfALargeVocabularyAreTheFrequentAndTheTelling) {
  constexpr std::int64_t kVocab = 1000, kRare = 999;
  RoutingTally tally(2, kVocab);
  const std::vector<double> gates{1}, logits{0, 0};
  const auto add = [&](std::int64_t symbol, std::int64_t expert, int times) {
    const std::vector<std::int64_t> experts{expert};
    for (int i = 0; i < times; ++i) tally.add({symbol, experts, gates, logits});
  };
  for (std::int64_t symbol = 0; symbol < 300; ++symbol) {
    add(symbol, 0, 10);
    add(symbol, 1, 10);
  }
  for (std::int64_t symbol = 400; symbol < 500; ++symbol) add(symbol, 0, 30);
  add(kRare, 1, 12);
  const auto listed = listed_symbols({RoutingTally(0, kVocab), tally}, kVocab);
  EXPECT_THAT(listed, testing::IsSupersetOf(
                          {std::int64_t{400}, std::int64_t{499}, std::int64_t{0}, kRare}));
  EXPECT_LE(listed.size(), kFrequentSymbols + 2 * kTellingSymbols);
  EXPECT_TRUE(std::ranges::is_sorted(listed));
}

}  // namespace
}  // namespace moe
