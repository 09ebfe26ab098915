// What an output may depend on: no later token, no batch mate.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

/// Least change that shows a dependence: far above rounding in double.
constexpr double kShows = 1e-6;

class CausalityTest : public testing::TestWithParam<std::tuple<ModelCase, EngineKind>> {
 protected:
  void SetUp() override { at::manual_seed(7); }

  static const ModelCase& shape() { return std::get<0>(GetParam()); }
  static Built build() { return Built(config_of(shape()), std::get<1>(GetParam())); }
  static bool drops(bool training) {
    return training && config_of(shape()).moe.capacity_factor.has_value();
  }

  /// (N, V) logits, tokens in (row, time) order.
  static at::Tensor logits_of(Built& built, const at::Tensor& ids, const ForwardContext& context) {
    return built.model->forward(ids, {}, context).logits.flatten(0, 1);
  }
};

TEST_P(CausalityTest, ChangingASymbolLeavesOutputsBeforeItAndOtherRows) {
  const at::NoGradGuard no_grad;
  auto built = build();
  const auto ids = random_ids(shape().batch, shape().time);
  const auto b = ids.size(0), t = ids.size(1), row = b / 2;
  for (const bool training : {false, true}) {
    const auto context = context_of(ids, training);
    const auto before = logits_of(built, ids, context);
    for (std::int64_t position = 0; position < t; ++position) {
      SCOPED_TRACE("training " + std::to_string(training) + ", symbol " + std::to_string(position));
      auto changed = ids.clone();
      changed[row][position].add_(1).remainder_(kVocab);
      const auto after = logits_of(built, changed, context);
      const auto expect_same = [&](std::int64_t begin, std::int64_t end) {
        EXPECT_LE(relative_error(after.slice(0, begin, end), before.slice(0, begin, end)), kDouble);
      };
      const auto token = row * t + position;
      expect_same(0, token);
      // With a capacity, a token may push out those after it in (row, time) order, of later rows
      // too; never those before it.
      if (!drops(training)) expect_same((row + 1) * t, b * t);
      EXPECT_GT(relative_error(after[token], before[token]), kShows);
    }
  }
}

TEST_P(CausalityTest, ARowIsIndependentOfItsBatchMates) {
  const at::NoGradGuard no_grad;
  auto built = build();
  const auto ids = random_ids(shape().batch, shape().time);
  const auto t = ids.size(1);
  for (const bool training : {false, true}) {
    if (drops(training)) continue;  // ARowIsIndependentOfTheRowsAfterIt
    const auto together = logits_of(built, ids, context_of(ids, training));
    for (std::int64_t row = 0; row < ids.size(0); ++row) {
      const auto one = ids.narrow(0, row, 1);
      const auto alone = logits_of(built, one, context_of(one, training, row));
      EXPECT_LE(relative_error(alone, together.narrow(0, row * t, t)), kDouble)
          << "training " << training << ", row " << row;
    }
  }
}

TEST_P(CausalityTest, ARowIsIndependentOfTheRowsAfterIt) {
  const at::NoGradGuard no_grad;
  auto built = build();
  const auto ids = random_ids(shape().batch, shape().time);
  const auto b = ids.size(0), t = ids.size(1);
  for (const bool training : {false, true}) {
    const auto context = context_of(ids, training);
    const auto before = logits_of(built, ids, context);
    for (std::int64_t row = 0; row + 1 < b; ++row) {
      auto changed = ids.clone();
      changed.slice(0, row + 1, b).copy_(random_ids(b - row - 1, t));
      const auto after = logits_of(built, changed, context);
      EXPECT_LE(relative_error(after.slice(0, 0, (row + 1) * t), before.slice(0, 0, (row + 1) * t)),
                kDouble)
          << "training " << training << ", row " << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CausalityTest,
                         testing::Combine(testing::ValuesIn(model_cases()),
                                          testing::ValuesIn(kEngines)),
                         [](const auto& test_info) {
                           return std::string(std::get<0>(test_info.param).name) + "_" +
                                  name_of(std::get<1>(test_info.param));
                         });

}  // namespace
}  // namespace moe
