#include "moe/eval/likeness.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "moe/base/error.h"
#include "tests/eval/small_model.h"

namespace moe {
namespace {

using namespace test;

constexpr double kSingular = 1e-6;      // of float weights through a decomposition in double
constexpr double kNormRounding = 1e-5;  // norms of float answers of length 5

TEST(Likeness, OfCopiesIsOneWhateverTheOrderOfTheirHiddenUnits) {
  auto model = small_model();
  const at::NoGradGuard no_grad;
  auto& mixture = mixture_of(model, 1);
  auto down = mixture.weights().w2.detach(), route = mixture.route().weight.detach();
  down[3].copy_(down[0].flip(1));  // (C, F): the hidden units in reverse
  route[3].copy_(2 * route[0]);
  const auto layer = expert_likeness(model, cyclic_tokens(100), kWholeSplit)[1];
  EXPECT_EQ(layer.rank, 2);  // 16 / 8
  EXPECT_NEAR(layer.output_overlap[0][3], 1, kSingular);
  EXPECT_NEAR(layer.output_overlap[3][0], 1, kSingular);
  EXPECT_NEAR(layer.router_cosine[0][3], 1, kSingular);
  EXPECT_LT(layer.output_overlap[0][1], 0.9);
  EXPECT_LT(layer.router_cosine[0][1], 0.9);
  for (std::size_t e = 0; e < 5; ++e) EXPECT_NEAR(layer.output_overlap[e][e], 1, kSingular);
}

TEST(Likeness, OfExpertsThatWriteElsewhereIsNone) {
  auto model = small_model();
  const at::NoGradGuard no_grad;
  auto down = mixture_of(model, 0).weights().w2.detach();
  down.zero_();
  for (std::int64_t e = 0; e < kExperts; ++e)  // expert e writes into features 2e and 2e + 1
    for (std::int64_t i = 0; i < 2; ++i) down[e][2 * e + i][i].fill_(1);
  const auto layer = expert_likeness(model, cyclic_tokens(50), kWholeSplit)[0];
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < 5; ++j)
      EXPECT_NEAR(layer.output_overlap[i][j], i == j ? 1 : 0, kSingular);
}

TEST(Likeness, NormsAndReapScoresAreThoseOfAnswersThatAreKnown) {
  auto model = small_model();
  silence_experts(model, 0);
  set_logits(model, 0, {std::log(3.0F), -9, 0, -9, -9});  // gates 0.75 and 0.25
  const at::NoGradGuard no_grad;
  auto bias = mixture_of(model, 0).weights().b2.detach();  // (E, C)
  bias[0][1].fill_(3);
  bias[0][2].fill_(4);
  bias[2][5].fill_(-2);
  const auto layer = expert_likeness(model, cyclic_tokens(100), kWholeSplit)[0];
  EXPECT_EQ(layer.tokens, (std::vector<std::int64_t>{99, 0, 99, 0, 0}));
  EXPECT_NEAR(layer.output_norm[0], 5, kNormRounding);
  EXPECT_NEAR(layer.output_norm[2], 2, kNormRounding);
  EXPECT_NEAR(layer.reap[0], 3.75, kNormRounding);
  EXPECT_NEAR(layer.reap[2], 0.5, kNormRounding);
  EXPECT_TRUE(std::isnan(layer.output_norm[1]));
  EXPECT_TRUE(std::isnan(layer.reap[1]));
}

TEST(Likeness, CountsEveryChoice) {
  auto model = small_model();
  for (const auto& layer : expert_likeness(model, cyclic_tokens(301), kWholeSplit))
    EXPECT_EQ(std::accumulate(layer.tokens.begin(), layer.tokens.end(), std::int64_t{0}),
              300 * kTopK);
}

TEST(Likeness, OfOneExpertIsOne) {
  auto config = small_config();
  config.moe.num_experts = config.moe.top_k = 1;
  auto model = small_model(config);
  const auto layer = expert_likeness(model, cyclic_tokens(50), kWholeSplit).front();
  EXPECT_NEAR(layer.output_overlap[0][0], 1, kSingular);
  EXPECT_EQ(layer.tokens, std::vector<std::int64_t>{49});
}

TEST(Likeness, IsThatOfTheExpertsThatARouterChooses) {
  auto config = small_config();
  config.moe.shared_experts = 2;
  auto model = small_model(config);
  const auto layer = expert_likeness(model, cyclic_tokens(50), kWholeSplit).front();
  EXPECT_EQ(layer.output_overlap.size(), layer.router_cosine.size());
  EXPECT_EQ(layer.output_overlap.size(), static_cast<std::size_t>(kExperts));
  EXPECT_EQ(layer.tokens.size(), static_cast<std::size_t>(kExperts));
}

TEST(Likeness, OfBrokenWeightsThatNoTokenNeedsIsANumericsError) {
  auto model = small_model();
  set_logits(model, 2, {2, 1, 0, -9, -9});
  const at::NoGradGuard no_grad;
  mixture_of(model, 2).weights().w2.detach()[4].fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(expert_likeness(model, cyclic_tokens(50), kWholeSplit), NumericsError);
}

}  // namespace
}  // namespace moe
