// An expert that no token chose (ADR 10): gradient 0, and AdamW goes on.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "moe/optim/optim.h"
#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

constexpr std::int64_t kStarved = 3;
constexpr double kRate = 1e-2;

/// A logit that no token can outweigh.
constexpr double kFar = 1e4;

class StarvedExpertTest : public testing::TestWithParam<EngineKind> {
 protected:
  StarvedExpertTest() : built_(config(), GetParam()), optimizer_(optim(), built_.flat.values()) {
    at::manual_seed(7);
    ids_ = random_ids(3, 6);
    targets_ = random_ids(3, 6);
  }

  static ModelConfig config() {
    auto config = tiny_config();
    config.moe.router = RouterKind::topk;
    return config;
  }
  static OptimConfig optim() {
    OptimConfig optim;
    optim.betas = {0.8, 0.95};
    optim.weight_decay = 0.1;
    return optim;
  }

  /// Gradients of one batch; returns how many tokens the expert served in all layers.
  std::int64_t learn() {
    built_.flat.gradients().zero_();
    const auto out = built_.model->forward(ids_, targets_, context_of(ids_, /*training=*/true));
    out.loss.backward();
    return out.expert_load.select(1, kStarved).sum().item<std::int64_t>();
  }

  void starve() {
    for (const auto* layer : {"0", "1"})
      built_.value(std::string("blocks.") + layer + ".smoe.router.linear.bias")[kStarved].fill_(
          -kFar);
  }

  /// Calls `check(tensor)` for each parameter of the expert in all layers.
  template <class Check>
  void for_each_piece(const Check& check) {
    for (const auto& tensor : built_.flat.layout())
      if (tensor.name.find(".experts." + std::to_string(kStarved) + ".") != std::string::npos) {
        SCOPED_TRACE(tensor.name);
        check(tensor);
      }
  }

  Built built_;
  Optimizer optimizer_;
  at::Tensor ids_, targets_;
};

TEST_P(StarvedExpertTest, ItsGradientIsExactlyZeroAndOthersAreNot) {
  ASSERT_GT(learn(), 0);
  for_each_piece([&](const PublishedTensor& tensor) {
    EXPECT_GT(built_.gradient(tensor.name).abs().max().item<double>(), 0);
  });
  starve();
  ASSERT_EQ(learn(), 0);
  for_each_piece([&](const PublishedTensor& tensor) {
    EXPECT_TRUE(built_.gradient(tensor.name).eq(0).all().item<bool>());
  });
  EXPECT_GT(built_.gradient("blocks.0.smoe.experts.0.net.0.weight").abs().max().item<double>(), 0);
}

TEST_P(StarvedExpertTest, AdamWDecaysItsMomentsAndItsWeights) {
  ASSERT_GT(learn(), 0);
  optimizer_.step(built_.flat.values(), built_.flat.gradients(), kRate);
  starve();
  ASSERT_EQ(learn(), 0);
  const auto values = built_.flat.values().clone();
  const auto m = optimizer_.state("exp_avg").clone(), v = optimizer_.state("exp_avg_sq").clone();
  optimizer_.step(built_.flat.values(), built_.flat.gradients(), kRate);

  const auto config = optim();
  const auto beta1 = config.betas[0], beta2 = config.betas[1];
  for_each_piece([&](const PublishedTensor& tensor) {
    const auto of = [&](const at::Tensor& flat) { return FlatParameters::view(flat, tensor); };
    EXPECT_GT(of(m).abs().max().item<double>(), 0);
    EXPECT_LE(relative_error(of(optimizer_.state("exp_avg")), of(m) * beta1), kDouble);
    EXPECT_LE(relative_error(of(optimizer_.state("exp_avg_sq")), of(v) * beta2), kDouble);
    const auto mean = of(m) * beta1 / (1 - beta1 * beta1);  // second update: powers are squares
    const auto square = of(v) * beta2 / (1 - beta2 * beta2);
    const auto expected = of(values) * (1 - kRate * config.weight_decay) -
                          kRate * mean / (square.sqrt() + config.eps);
    EXPECT_LE(relative_error(of(built_.flat.values()), expected), kDouble);
  });
}

INSTANTIATE_TEST_SUITE_P(Engines, StarvedExpertTest, testing::ValuesIn(kEngines),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace moe
