// Targets that do not count (kNoTarget): loss and gradients are those of the others alone.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"

namespace moe {
namespace {

using namespace test;

/// The same sums in another order, in double.
constexpr double kFewerTargets = 1e-12;

class UncountedTargets : public testing::TestWithParam<EngineKind> {
 protected:
  UncountedTargets() : built_(tiny_config(), GetParam()) {
    at::manual_seed(3);
    ids_ = random_ids(5, 6);
    targets_ = random_ids(5, 6);
  }
  /// Of a mean over `targets`, one of them left out or not.
  LmOutput forward(const at::Tensor& targets) {
    return built_.model->forward(ids_, targets, context_of(ids_, /*training=*/true));
  }

  Built built_;
  at::Tensor ids_, targets_;
};

TEST_P(UncountedTargets, LossAndGradientsAreThoseOfTheOthers) {
  auto some = targets_.clone();
  some.select(1, 0).fill_(kNoTarget);
  some[2].fill_(kNoTarget);
  const auto counts = some.ge(0).flatten();
  const auto log_p = forward({}).logits.log_softmax(-1).flatten(0, 1);
  const auto want =
      -log_p.gather(1, targets_.flatten().unsqueeze(1)).squeeze(1).masked_select(counts).mean();
  built_.flat.gradients().zero_();
  want.backward();
  const auto gradients = built_.flat.gradients().clone();
  built_.flat.gradients().zero_();
  const auto got = forward(some).loss;
  got.backward();
  EXPECT_NEAR(got.item<double>(), want.item<double>(), kFewerTargets);
  EXPECT_LE(relative_error(built_.flat.gradients(), gradients), kFewerTargets);
}

TEST_P(UncountedTargets, IfNoneCountsTheMeanIsNotANumber) {
  EXPECT_TRUE(std::isnan(forward(at::full_like(targets_, kNoTarget)).loss.item<double>()));
}

INSTANTIATE_TEST_SUITE_P(Engines, UncountedTargets, testing::ValuesIn(kEngines),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace moe
