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
    EXPECT_EQ(found.masked[1][unused].all, 0) << unused;
    EXPECT_EQ(found.zeroed[1][unused].all, 0) << unused;
  }
  EXPECT_NE(found.masked[1][1].all, 0);
  EXPECT_NE(found.zeroed[1][1].all, 0);
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
        EXPECT_EQ(found.masked[place(layer)][place(expert)].all,
                  evaluate_full(masked, tokens, 42).loss - found.loss);
        EXPECT_EQ(found.zeroed[place(layer)][place(expert)].all,
                  evaluate_full(zeroed, tokens, 42).loss - found.loss);
      }
    }
}

/// Symbols 0 to 2, 3 to 6, and none.
const TargetKinds kThreeKinds{3, {0, 0, 0, 1, 1, 1, 1}};

TEST(Ablation, RisesOfKindsOfTargetsWeighedByTheirNumberAreTheRiseOfAll) {
  auto model = small_model();
  const auto found = ablate(model, cyclic_tokens(301), kWholeSplit, kThreeKinds);
  const auto all = ablate(model, cyclic_tokens(301), kWholeSplit);
  ASSERT_EQ(found.tokens_by_kind, (std::vector<std::int64_t>{128, 172, 0}));
  for (std::size_t e = 0; e < place(kExperts); ++e)
    for (const auto* rises : {&found.masked, &found.zeroed}) {
      const auto& rise = (*rises)[1][e];
      double sum = 0;
      for (std::size_t kind : {0U, 1U})
        sum += rise.by_kind[kind] * static_cast<double>(found.tokens_by_kind[kind]);
      EXPECT_NEAR(sum / static_cast<double>(found.tokens), rise.all, kLossRounding);
      EXPECT_GT(std::abs(rise.by_kind[0] - rise.by_kind[1]), kLossRounding);
      EXPECT_TRUE(std::isnan(rise.by_kind[2])) << "no such target";
    }
  EXPECT_EQ(found.loss, all.loss);
  EXPECT_EQ(found.masked[2][1].all, all.masked[2][1].all);
  EXPECT_TRUE(all.masked[2][1].by_kind.empty());
}

TEST(Ablation, LossesOfKindsAreThoseOfTheirTargetsAlone) {
  auto model = small_model();
  const auto tokens = cyclic_tokens(kContext + 1);  // one window
  const auto found = ablate(model, tokens, kWholeSplit, kThreeKinds);
  const at::NoGradGuard no_grad;
  for_each_batch(model, tokens, kWholeSplit, [&](const SplitBatch& batch) {
    const auto targets = batch.targets.flatten();
    const auto logits = model->forward(batch.ids, {}, batch.context).logits.flatten(0, -2);
    const auto losses = at::cross_entropy_loss(logits, targets, {}, at::Reduction::None);
    const auto mean = [&](const at::Tensor& of) {
      return losses.masked_select(of).mean().item<double>();
    };
    EXPECT_NEAR(found.loss_by_kind[0], mean(targets.le(2)), kLossRounding);
    EXPECT_NEAR(found.loss_by_kind[1], mean(targets.gt(2)), kLossRounding);
  });
}

TEST(Ablation, MaskingOneOfEqualExpertsChangesNothingButGates) {
  auto model = small_model();
  make_experts_equal(model, 0);
  const auto found = ablate(model, cyclic_tokens(301), kWholeSplit);
  for (const auto& rise : found.masked[0]) EXPECT_NEAR(rise.all, 0, kLossRounding);
  EXPECT_GT(std::abs(found.zeroed[0][0].all), kLossRounding);
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
      EXPECT_NEAR(a.masked[layer][e].all, b.masked[layer][e].all, kLossRounding);
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
  EXPECT_TRUE(std::isnan(found.masked[0][0].all));
  EXPECT_TRUE(std::isfinite(found.zeroed[0][0].all));
}

TEST(Ablation, WhereAllExpertsAreChosenTheOthersTakeTheGate) {
  auto config = small_config();
  config.moe.top_k = kExperts;
  auto model = small_model(config);
  make_experts_equal(model, 2);
  const auto found = ablate(model, cyclic_tokens(100), kWholeSplit);
  for (const auto& rise : found.masked[2]) EXPECT_NEAR(rise.all, 0, kLossRounding);
  for (const auto& rise : found.masked[0]) EXPECT_TRUE(std::isfinite(rise.all));
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
