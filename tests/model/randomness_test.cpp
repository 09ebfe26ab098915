// Dropout and router noise: what they depend on, and when they are on (ADR 10).

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

class RandomnessTest : public testing::TestWithParam<EngineKind> {
 protected:
  RandomnessTest() {
    at::manual_seed(7);
    ids_ = random_ids(3, 6);
    targets_ = random_ids(3, 6);
  }

  static ModelConfig config(RouterKind router, double dropout, bool noise_in_eval = false) {
    auto config = tiny_config();
    config.dropout = dropout;
    config.moe.router = router;
    config.moe.noise_in_eval = noise_in_eval;
    return config;
  }

  ForwardContext context(bool training, std::int64_t update) const {
    auto context = context_of(ids_, training);
    context.key = stream_key(1, "train", static_cast<std::uint64_t>(update));
    return context;
  }

  at::Tensor logits(Built& built, const ForwardContext& context) const {
    const at::NoGradGuard no_grad;
    return built.model->forward(ids_, {}, context).logits;
  }

  at::Tensor gradients(Built& built, const ForwardContext& context) const {
    built.flat.gradients().zero_();
    built.model->forward(ids_, targets_, context).loss.backward();
    return built.flat.gradients().clone();
  }

  at::Tensor ids_, targets_;
};

TEST_P(RandomnessTest, TheSameUpdateTwiceIsEqualToTheLastBit) {
  Built built(config(RouterKind::noisy_topk, 0.3), GetParam());
  const auto first = logits(built, context(true, 1));
  const auto slopes = gradients(built, context(true, 1));
  at::manual_seed(99);  // torch's own generator has no part in it
  EXPECT_TRUE(at::equal(logits(built, context(true, 1)), first));
  EXPECT_TRUE(at::equal(gradients(built, context(true, 1)), slopes));
}

TEST_P(RandomnessTest, AnotherUpdateDrawsOtherDropout) {
  Built built(config(RouterKind::topk, 0.3), GetParam());
  EXPECT_FALSE(at::equal(logits(built, context(true, 2)), logits(built, context(true, 1))));
}

TEST_P(RandomnessTest, AnotherUpdateDrawsOtherNoise) {
  Built built(config(RouterKind::noisy_topk, 0), GetParam());
  EXPECT_FALSE(at::equal(logits(built, context(true, 2)), logits(built, context(true, 1))));
}

TEST_P(RandomnessTest, WithoutDropoutAndNoiseTrainingIsEvaluation) {
  Built built(config(RouterKind::topk, 0), GetParam());
  EXPECT_TRUE(at::equal(logits(built, context(true, 2)), logits(built, context(false, 1))));
}

TEST_P(RandomnessTest, EvaluationDropsNothingAndRepeats) {
  Built built(config(RouterKind::noisy_topk, 0.3), GetParam()),
      undropped(config(RouterKind::noisy_topk, 0), GetParam());
  const auto evaluated = logits(built, context(false, 1));
  EXPECT_TRUE(at::equal(logits(built, context(false, 2)), evaluated));
  EXPECT_TRUE(at::equal(logits(undropped, context(false, 1)), evaluated));
}

TEST_P(RandomnessTest, NoiseInEvalDrawsByItsKeyAndStillDropsNothing) {
  Built noisy(config(RouterKind::noisy_topk, 0.3, true), GetParam()),
      undropped(config(RouterKind::noisy_topk, 0, true), GetParam());
  const auto evaluated = logits(noisy, context(false, 1));
  EXPECT_TRUE(at::equal(logits(noisy, context(false, 1)), evaluated));
  EXPECT_FALSE(at::equal(logits(noisy, context(false, 2)), evaluated));
  EXPECT_TRUE(at::equal(logits(undropped, context(false, 1)), evaluated));
}

TEST_P(RandomnessTest, NoiseOfTheContextIsUsedInsteadOfDraws) {
  Built built(config(RouterKind::noisy_topk, 0), GetParam());
  const auto& c = built.config;
  const std::vector<std::int64_t> shape{c.n_layer, ids_.numel(), c.moe.num_experts};
  auto still = context(true, 1), given = context(false, 1);
  still.noise = at::zeros(shape, at::TensorOptions(at::kDouble).device(test_device()));
  given.noise = random_values(shape);
  const auto evaluated = logits(built, context(false, 1));
  EXPECT_LE(relative_error(logits(built, still), evaluated), kDouble);
  const auto noisy = logits(built, given);
  EXPECT_FALSE(at::equal(noisy, evaluated));
  given.training = true;
  given.key = 0;
  EXPECT_TRUE(at::equal(logits(built, given), noisy));
}

INSTANTIATE_TEST_SUITE_P(Engines, RandomnessTest, testing::ValuesIn(kEngines),
                         [](const auto& test_info) { return name_of(test_info.param); });

TEST(DrawSites, EveryLayerAndKindHasItsOwn) {
  constexpr std::int64_t kLayers = 512;  // the most that a config allows
  constexpr DrawKind kKinds[] = {DrawKind::router_noise, DrawKind::attention_dropout,
                                 DrawKind::projection_dropout, DrawKind::expert_dropout,
                                 DrawKind::embedding_dropout};
  std::set<std::uint32_t> sites;
  for (std::int64_t layer = 0; layer < kLayers; ++layer)
    for (const auto kind : kKinds) sites.insert(draw_key({}, layer, kind).site);
  EXPECT_EQ(sites.size(), std::size_t{kLayers} * std::size(kKinds));
}

TEST(DrawSites, AKindThatComesLaterLeavesTheOthersTheirNumbers) {
  constexpr std::int64_t kLayers = 512;
  std::set<std::uint32_t> sites;
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    EXPECT_EQ(draw_key({}, layer, DrawKind::expert_dropout).site, 4 * layer + 3);
    for (std::uint32_t kind = 0; kind < 12; ++kind)
      sites.insert(draw_key({}, layer, static_cast<DrawKind>(kind)).site);
  }
  EXPECT_EQ(sites.size(), std::size_t{kLayers} * 12);
}

}  // namespace
}  // namespace moe
