#include "moe/eval/ablation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <limits>
#include <vector>

#include "moe/base/error.h"
#include "moe/eval/evaluator.h"
#include "tests/eval/small_model.h"

namespace moe {
namespace {

using namespace test;

constexpr float kNever = -1e9F;  // a logit that no token prefers
constexpr float kInfiniteLogit = std::numeric_limits<float>::infinity();

std::size_t place(std::int64_t i) { return static_cast<std::size_t>(i); }

TEST(Ablation, OfAnExpertThatNoTokenChoseChangesNoBit) {
  auto model = small_model();
  set_logits(model, 1, {1, 3, kNever, 2, 0});
  const auto found = ablate(model, cyclic_tokens(301), kWholeSplit);
  for (const std::size_t unused : {2U, 0U, 4U}) {
    EXPECT_EQ(found.masked[1][unused], 0) << unused;
    EXPECT_EQ(found.zeroed[1][unused], 0) << unused;
  }
  EXPECT_NE(found.masked[1][1], 0);
  EXPECT_NE(found.zeroed[1][1], 0);
}

TEST(Ablation, HasTheLossOfAnEvaluationAndLeavesTheWeightsAsTheyWere) {
  auto model = small_model();
  const auto before = snapshot(model);
  const auto tokens = cyclic_tokens(301);
  const auto found = ablate(model, tokens, kWholeSplit);
  EXPECT_EQ(found.tokens, 300);
  EXPECT_EQ(found.loss, evaluate_full(model, tokens, 42).loss);
  EXPECT_TRUE(are_equal(before, snapshot(model)));
}

TEST(Ablation, OfBlocksThatReadPastOthersHasTheLossOfAnEvaluationToo) {
  auto config = small_config();
  config.x0_shortcut = config.value_residual = true;
  config.ngram.orders = {2};
  SparseMoELanguageModel model(config, Vocabulary(kVocabularySize, {{2, {0, 3, 3, 6, 7, 2}}}));
  initialise(model, 5);
  {
    const at::NoGradGuard no_grad;
    for (auto& item : model->named_parameters())
      if (item.key().find("lambda") != std::string::npos || item.key() == "ngram.2.weight")
        item.value().add_(0.3);
  }
  const auto tokens = cyclic_tokens(100);
  const auto found = ablate(model, tokens, kWholeSplit);
  EXPECT_EQ(found.loss, evaluate_full(model, tokens, 42).loss);
}

TEST(Ablation, IsTheEvaluationOfAModelThatLacksTheExpert) {
  const auto tokens = cyclic_tokens(203);
  for (const auto kernels : {Kernels::fast, Kernels::reference})
    for (const auto gate : {Gate::topk_softmax, Gate::softmax_topk, Gate::sigmoid}) {
      auto config = small_config();
      config.kernels = kernels;
      config.moe.gate = gate;
      config.moe.shared_experts = gate == Gate::sigmoid ? 2 : 0;
      auto model = small_model(config);
      const auto found = ablate(model, tokens, kWholeSplit);
      for (std::int64_t layer = 0; layer < kLayers; ++layer) {
        const std::int64_t expert = layer + 1;
        const at::NoGradGuard no_grad;
        auto masked = small_model(config), zeroed = small_model(config);
        mixture_of(masked, layer).route().bias.detach()[expert].fill_(-kInfiniteLogit);
        mixture_of(zeroed, layer).weights().w2.detach()[expert].zero_();
        mixture_of(zeroed, layer).weights().b2.detach()[expert].zero_();
        EXPECT_EQ(found.masked[place(layer)][place(expert)],
                  evaluate_full(masked, tokens, 42).loss - found.loss);
        EXPECT_EQ(found.zeroed[place(layer)][place(expert)],
                  evaluate_full(zeroed, tokens, 42).loss - found.loss);
      }
    }
}

TEST(Ablation, MaskingOneOfEqualExpertsChangesNothingButGates) {
  auto model = small_model();
  make_experts_equal(model, 0);
  const auto found = ablate(model, cyclic_tokens(301), kWholeSplit);
  for (const auto rise : found.masked[0]) EXPECT_NEAR(rise, 0, kLossRounding);
  EXPECT_GT(std::abs(found.zeroed[0][0]), kLossRounding);
}

TEST(Ablation, MasksRoutersWithoutBiasToo) {
  auto config = small_config();
  auto with = small_model(config);
  config.bias = false;
  auto without = small_model(config);
  const at::NoGradGuard no_grad;
  const auto others = without->named_parameters();
  for (auto& item : with->named_parameters()) {
    const auto* same = others.find(item.key());
    if (same != nullptr)
      item.value().copy_(*same);
    else
      item.value().zero_();
  }
  const auto tokens = cyclic_tokens(203);
  const auto a = ablate(with, tokens, kWholeSplit), b = ablate(without, tokens, kWholeSplit);
  for (std::size_t layer = 0; layer < place(kLayers); ++layer)
    for (std::size_t e = 0; e < place(kExperts); ++e)
      EXPECT_NEAR(a.masked[layer][e], b.masked[layer][e], kLossRounding);
  EXPECT_FALSE(mixture_of(without, 0).route().bias.defined());
}

TEST(Ablation, MasksAnExpertThatABalanceBiasFavoursToo) {
  for (const auto kernels : {Kernels::fast, Kernels::reference}) {
    auto config = small_config();
    config.kernels = kernels;
    config.moe.balance = {{.kind = BalanceKind::loss_free}};
    auto model = small_model(config);
    const at::NoGradGuard no_grad;
    model->balance_bias(0).detach()[2].fill_(10);
    const auto tokens = cyclic_tokens(203);
    EXPECT_GT(evaluate_full(model, tokens, 42).expert_load[0][2], 0.3) << "each token chose it";
    mixture_of(model, 0).route().bias.detach()[2].fill_(-kInfiniteLogit);
    EXPECT_EQ(evaluate_full(model, tokens, 42).expert_load[0][2], 0);
  }
}

TEST(Ablation, OfTheOnlyExpertCanNotMaskIt) {
  auto config = small_config();
  config.moe.num_experts = config.moe.top_k = 1;
  auto model = small_model(config);
  const auto found = ablate(model, cyclic_tokens(50), kWholeSplit);
  EXPECT_TRUE(std::isnan(found.masked[0][0]));
  EXPECT_TRUE(std::isfinite(found.zeroed[0][0]));
}

TEST(Ablation, WhereAllExpertsAreChosenTheOthersTakeTheGate) {
  auto config = small_config();
  config.moe.top_k = kExperts;
  auto model = small_model(config);
  make_experts_equal(model, 2);
  const auto found = ablate(model, cyclic_tokens(100), kWholeSplit);
  for (const auto rise : found.masked[2]) EXPECT_NEAR(rise, 0, kLossRounding);
  for (const auto rise : found.masked[0]) EXPECT_TRUE(std::isfinite(rise));
}

TEST(Ablation, ThatASignalEndsLeavesTheWeightsAsTheyWere) {
  auto model = small_model();
  const auto before = snapshot(model);
  SplitRequest request = kWholeSplit;
  int asked = 0;
  request.stop = [&] { return ++asked == 9 ? SIGINT : 0; };
  EXPECT_THROW(ablate(model, cyclic_tokens(100), request), Interrupted);
  EXPECT_TRUE(are_equal(before, snapshot(model)));
  const auto tokens = cyclic_tokens(100);
  auto fresh = small_model();
  EXPECT_EQ(evaluate_full(model, tokens, 42).loss, evaluate_full(fresh, tokens, 42).loss);
}

TEST(Ablation, OfDivergedWeightsIsANumericsError) {
  auto model = small_model();
  const at::NoGradGuard no_grad;
  model->parameters().front().fill_(std::numeric_limits<float>::quiet_NaN());
  EXPECT_THROW(ablate(model, cyclic_tokens(50), kWholeSplit), NumericsError);
}

}  // namespace
}  // namespace moe
