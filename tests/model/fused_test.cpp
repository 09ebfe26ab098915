// The fused layers against the modules composed, with dropout and router noise on: logits, loss and
// every gradient in double over shapes and variants, and 20 updates. Skipped where the device has
// no fused layers.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/kernels/workspace.h"
#include "moe/optim/optim.h"
#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

/// Wide and long enough for several tasks of each kind, tiles of three panels and whole blocks.
const ModelCase kLarge{"large", 48, 3, 2, 2, 2, 50, 3, 50};
/// So many tokens that the gradient of each weight is summed in several parts.
const ModelCase kManyTokens{"many_tokens", 20, 4, 1, 2, 2, 50, 22, 50};

/// kLarge as published, and in each variant.
std::vector<ModelCase> large_cases() {
  std::vector<ModelCase> cases{kLarge};
  const auto add = [&](const Variant& variant) {
    cases.push_back(kLarge);
    cases.back().name = variant.name;
    cases.back().set = variant.set;
  };
  for (const auto& variant : kVariants) add(variant);
  for (const auto& variant : kDense) add(variant);
  for (const auto& variant : kRoutings) add(variant);
  return cases;
}

/// Every case of model_cases, and widths, lengths and numbers of experts about the kernels' edges:
/// panels of 16 tokens, blocks of 4 draws, register tiles of rows and panels.
std::vector<ModelCase> fused_cases() {
  auto cases = model_cases();
  for (const std::int64_t embed : {4, 10, 16, 20, 36})
    for (const std::int64_t time : {1, 3, 15, 16, 17, 33})
      for (const std::int64_t experts : {1, 3, 9})
        cases.push_back({"", embed, embed % 4 == 0 ? 4 : 2, 1, experts,
                         std::min<std::int64_t>(experts, 2), 33, 2, time});
  cases.push_back(kLarge);
  cases.push_back(kManyTokens);
  return cases;
}

struct Outcome {
  at::Tensor logits, loss, gradients;
};

Outcome run(Built& built, const at::Tensor& ids, const at::Tensor& targets, bool training) {
  built.flat.gradients().zero_();
  const auto out = built.model->forward(ids, targets, context_of(ids, training));
  const auto loss = total_loss(out);
  loss.backward();
  return {out.logits.detach().clone(), loss.detach().clone(), built.flat.gradients().clone()};
}

class FusedTest : public testing::TestWithParam<ModelCase> {
 protected:
  FusedTest() {
    at::manual_seed(3);
    ids_ = random_ids(GetParam().batch, GetParam().time);
    targets_ = random_ids(GetParam().batch, GetParam().time);
  }
  void SetUp() override {
    if (!test_device().is_cpu()) GTEST_SKIP() << "the fused layers are the CPU's";
  }
  at::Tensor ids_, targets_;
};

TEST_P(FusedTest, LogitsLossAndEveryGradientEqualTheReference) {
  Built fused(config_of(GetParam())), reference(config_of(GetParam(), Kernels::reference));
  for (const bool training : {true, false}) {
    const auto got = run(fused, ids_, targets_, training);
    const auto want = run(reference, ids_, targets_, training);
    EXPECT_LE(relative_error(got.logits, want.logits), kDouble) << training;
    EXPECT_LE(relative_error(got.loss, want.loss), kDouble) << training;
    for (const auto& tensor : fused.flat.trained_layout())
      EXPECT_LE(relative_error(FlatParameters::view(got.gradients, tensor),
                               FlatParameters::view(want.gradients, tensor)),
                kDouble)
          << tensor.name << (training ? " in training" : " in evaluation");
  }
}

TEST_P(FusedTest, FreshGradientsInAWorkspaceEqualAddedOnesToTheLastBit) {
  Built built(config_of(GetParam()));
  const auto want = run(built, ids_, targets_, /*training=*/true).gradients;
  built.flat.gradients().fill_(std::nan(""));
  kernels::Workspace workspace;
  for (int round = 0; round < 2; ++round) {  // the second in memory that the first has written to
    workspace.reset();
    auto context = context_of(ids_, /*training=*/true);
    context.workspace = &workspace;
    built.flat.ledger().begin_update();
    context.gradients = &built.flat.ledger();
    backward(built.model->forward(ids_, targets_, context), at::ones({}, at::kDouble));
    EXPECT_TRUE(at::equal(built.flat.gradients(), want)) << round;
  }
}

TEST_P(FusedTest, TheNumberOfThreadsChangesNoBit) {
  Built built(config_of(GetParam()));
  const auto before = at::get_num_threads();
  at::set_num_threads(1);
  const auto want = run(built, ids_, targets_, /*training=*/true);
  at::set_num_threads(3);
  const auto got = run(built, ids_, targets_, /*training=*/true);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(got.logits, want.logits));
  EXPECT_TRUE(at::equal(got.gradients, want.gradients));
}

std::string name_of_case(const testing::TestParamInfo<ModelCase>& info) {
  const auto& shape = info.param;
  if (*shape.name != '\0') return shape.name;
  return "width" + std::to_string(shape.embed) + "_time" + std::to_string(shape.time) + "_experts" +
         std::to_string(shape.experts);
}
INSTANTIATE_TEST_SUITE_P(Shapes, FusedTest, testing::ValuesIn(fused_cases()), name_of_case);

TEST(FusedFloat, LogitsAndGradientsEqualTheReference) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "the fused layers are the CPU's";
  // Four times the largest deviation that was measured on the three levels, 9.9e-7.
  constexpr double kFloatGradients = 4e-6;
  // Likewise of a router's biases, whose gradients nearly cancel: 4.2e-6 behind RMS norms (with
  // AVX-512), 5.1e-6 of the noise's without positions (with AVX2).
  constexpr double kFloatRouterBias = 2.1e-5;
  // Likewise of the numbers that blocks weigh their sources by, each a sum over all values: 7.8e-6.
  constexpr double kFloatLambda = 3.2e-5;
  const auto bound_of = [](const ModelCase& shape, const std::string& name) {
    if (name.ends_with("_lambda.weight")) return kFloatLambda;
    const bool cancels = shape.set != nullptr && name.ends_with("_linear.bias");
    return cancels ? kFloatRouterBias : kFloatGradients;
  };
  auto shapes = large_cases();
  shapes.push_back(kManyTokens);
  for (const auto& shape : shapes) {
    at::manual_seed(3);
    const auto ids = random_ids(shape.batch, shape.time);
    const auto targets = random_ids(shape.batch, shape.time);
    std::vector<Outcome> outcomes;
    std::vector<PublishedTensor> layout;
    for (const auto kernels : {Kernels::fast, Kernels::reference}) {
      Built built(config_of(shape, kernels), at::kFloat);
      outcomes.push_back(run(built, ids, targets, /*training=*/true));
      layout = built.flat.trained_layout();
    }
    EXPECT_LE(relative_error(outcomes[0].logits, outcomes[1].logits), kFloatLogits) << shape.name;
    for (const auto& tensor : layout)
      EXPECT_LE(relative_error(FlatParameters::view(outcomes[0].gradients, tensor),
                               FlatParameters::view(outcomes[1].gradients, tensor)),
                bound_of(shape, tensor.name))
          << shape.name << " " << tensor.name;
  }
}

TEST(FusedFloat, DecodingEqualsForward) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "the fused layers are the CPU's";
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  for (const auto& shape : large_cases())
    for (const auto& [type, batch] : {std::pair(at::kFloat, 1), std::pair(at::kFloat, 5),
                                      std::pair(at::kDouble, 1), std::pair(at::kDouble, 5)}) {
      Built built(config_of(shape), type);
      const auto ids = random_ids(batch, 50);
      const auto whole = built.model->forward(ids, {}, context_of(ids, false)).logits;
      KeyValueCache cache;
      for (std::int64_t t = 0; t < 50; ++t) {
        const auto one = ids.narrow(1, t, 1);
        EXPECT_LE(relative_error(built.model->extend(one, cache, context_of(one, false, 0, t)),
                                 whole.select(1, t)),
                  type == at::kFloat ? kFloatLogits : kDouble)
            << shape.name << " " << t;
      }
    }
}

/// Losses of `updates` updates of AdamW, each with draws of its own.
std::vector<double> train(Built& built, int updates) {
  Optimizer optimizer(OptimConfig{}, built.flat.values());
  std::vector<double> losses;
  at::manual_seed(5);
  for (int update = 1; update <= updates; ++update) {
    const auto ids = random_ids(4, 17), targets = random_ids(4, 17);
    auto context = context_of(ids, /*training=*/true);
    context.key = stream_key(1, "train", static_cast<std::uint64_t>(update));
    built.flat.gradients().zero_();
    const auto out = built.model->forward(ids, targets, context);
    out.loss.backward();
    losses.push_back(out.loss.item<double>());
    optimizer.step(built.flat.values(), built.flat.gradients(), 1e-3);
  }
  return losses;
}

TEST(FusedTraining, TwentyLossesEqualTheReference) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "the fused layers are the CPU's";
  ModelCase shape{"", 20, 4, 2, 5, 2, 17, 4, 17};
  Built fused(config_of(shape)), reference(config_of(shape, Kernels::reference));
  const auto got = train(fused, 20), want = train(reference, 20);
  for (std::size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], kDouble) << i;
}

}  // namespace
}  // namespace moe
