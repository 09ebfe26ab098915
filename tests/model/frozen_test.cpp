// Frozen parameters (requires_grad false), any of them: the others' gradients are what they were.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "moe/kernels/workspace.h"
#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

constexpr double kUntouched = 7;  // what the gradient of a frozen parameter holds before and after

class Frozen : public testing::TestWithParam<std::tuple<EngineKind, Variant>> {
 protected:
  Frozen() : built_(config(), std::get<0>(GetParam())) {
    at::manual_seed(3);
    ids_ = random_ids(2, 6);
    targets_ = random_ids(2, 6);
    want_loss_ = backward(nullptr);
    want_ = built_.flat.gradients().clone();
  }
  static ModelConfig config() {
    auto config = tiny_config();
    config.dropout = 0.2;
    std::get<1>(GetParam()).set(config);
    return config;
  }

  /// The loss; gradients are added to kUntouched, or written if there is a ledger.
  at::Tensor backward(kernels::GradientLedger* ledger) {
    if (ledger != nullptr)
      built_.flat.gradients().fill_(kUntouched);
    else
      built_.flat.gradients().zero_();
    auto context = context_of(ids_, /*training=*/true);
    context.gradients = ledger;
    const auto loss = total_loss(built_.model->forward(ids_, targets_, context));
    loss.backward();
    return loss.detach().clone();
  }
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& item : built_.model->named_parameters())
      if (item.value().grad().defined()) all.push_back(item.key());
    return all;
  }
  at::Tensor parameter(const std::string& name) { return built_.model->named_parameters()[name]; }
  at::Tensor wanted(const std::string& name) {
    const auto gradient = parameter(name).grad();
    return want_.narrow(0, gradient.storage_offset(), gradient.numel()).view(gradient.sizes());
  }

  Built built_;
  at::Tensor ids_, targets_, want_, want_loss_;
};

TEST_P(Frozen, OneOfThemChangesNoOtherGradient) {
  for (const auto& frozen : names()) {
    parameter(frozen).set_requires_grad(false);
    EXPECT_LE(relative_error(backward(nullptr), want_loss_), kDouble) << frozen;
    EXPECT_TRUE(at::equal(parameter(frozen).grad(), at::zeros_like(wanted(frozen)))) << frozen;
    for (const auto& name : names()) {
      if (name == frozen) continue;
      EXPECT_LE(relative_error(parameter(name).grad(), wanted(name)), kDouble)
          << name << " with " << frozen << " frozen";
    }
    parameter(frozen).set_requires_grad(true);
  }
}

TEST_P(Frozen, TheOnlyOneThatIsTrainedGetsItsGradient) {
  for (const auto& trained : names()) {
    for (const auto& name : names()) parameter(name).set_requires_grad(name == trained);
    EXPECT_LE(relative_error(backward(nullptr), want_loss_), kDouble) << trained;
    for (const auto& name : names()) {
      const auto want = name == trained ? wanted(name) : at::zeros_like(wanted(name));
      EXPECT_LE(relative_error(parameter(name).grad(), want), kDouble)
          << name << " with only " << trained << " trained";
    }
  }
}

TEST_P(Frozen, AllOfThemLeaveNothingToGoBackThrough) {
  for (const auto& name : names()) parameter(name).set_requires_grad(false);
  const auto out = built_.model->forward(ids_, targets_, context_of(ids_, /*training=*/true));
  EXPECT_FALSE(out.loss.requires_grad());
  EXPECT_LE(relative_error(total_loss(out), want_loss_), kDouble);
}

TEST_P(Frozen, AnUpdateReplacesWhatTheLastOneLeftAndZeroesWhatNobodyWrote) {
  const std::string frozen = "blocks.0.sa.qkv";
  parameter(frozen).set_requires_grad(false);
  auto& ledger = built_.flat.ledger();
  ledger.begin_update();
  backward(&ledger);
  ledger.zero_unwritten();
  for (const auto& name : names()) {
    const auto want = name == frozen ? at::zeros_like(wanted(name)) : wanted(name);
    EXPECT_LE(relative_error(parameter(name).grad(), want), kDouble) << name;
  }
}

TEST_P(Frozen, TheSecondBackwardOfAnUpdateAdds) {
  auto& ledger = built_.flat.ledger();
  ledger.begin_update();
  backward(&ledger);
  auto context = context_of(ids_, /*training=*/true);
  context.gradients = &ledger;
  total_loss(built_.model->forward(ids_, targets_, context)).backward();
  EXPECT_LE(relative_error(built_.flat.gradients(), want_ * 2), kDouble);
}

std::vector<Variant> models() {
  auto all = all_models();
  all.insert(all.end(), std::begin(kDense), std::end(kDense));
  all.insert(all.end(), std::begin(kRoutings), std::end(kRoutings));
  return all;
}

INSTANTIATE_TEST_SUITE_P(Engines, Frozen,
                         testing::Combine(testing::ValuesIn(kEngines), testing::ValuesIn(models())),
                         [](const auto& test_info) {
                           return name_of(std::get<0>(test_info.param)) + "_" +
                                  std::get<1>(test_info.param).name;
                         });

}  // namespace
}  // namespace moe
