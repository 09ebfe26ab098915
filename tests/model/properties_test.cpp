// What holds for any weights.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

class PropertiesTest : public testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override { at::manual_seed(7); }

  ModelConfig config() const { return config_of(GetParam()); }
  at::Tensor ids() const { return random_ids(GetParam().batch, GetParam().time); }
};

void expect_equals_reference(const ModelConfig& config, EngineKind engine, const at::Tensor& x,
                             const at::Tensor& targets) {
  Built fast(config, engine), reference(config, EngineKind::reference);
  const auto context = context_of(x, /*training=*/true);
  const auto a = fast.model->forward(x, targets, context);
  const auto b = reference.model->forward(x, targets, context);
  EXPECT_LE(relative_error(a.logits, b.logits), kDouble);
  const auto ours = total_loss(a), theirs = total_loss(b);
  EXPECT_LE(relative_error(ours, theirs), kDouble);
  EXPECT_TRUE(at::equal(a.expert_load, b.expert_load));
  ours.backward();
  theirs.backward();
  for (const auto& tensor : fast.flat.trained_layout())
    EXPECT_LE(relative_error(FlatParameters::view(fast.flat.gradients(), tensor),
                             FlatParameters::view(reference.flat.gradients(), tensor)),
              kDouble)
        << tensor.name;
}

TEST_P(PropertiesTest, FastEqualsReferenceInTraining) {
  expect_equals_reference(config(), EngineKind::fast, ids(), ids());
}

TEST_P(PropertiesTest, StackedEqualsReferenceInTraining) {
  expect_equals_reference(config(), EngineKind::stacked, ids(), ids());
}

/// Cached decoding of `x` (B, T), from each of several lengths of prompt on, against one forward.
void expect_extend_equals_forward(SparseMoELanguageModel model, const at::Tensor& x) {
  const auto t = x.size(1);
  const auto whole = model->forward(x, {}, context_of(x, /*training=*/false)).logits;
  EXPECT_LE(relative_error(model->last_logits(x, context_of(x, false)), whole.select(1, t - 1)),
            kDouble);
  for (const std::int64_t first : {std::int64_t{1}, (t + 1) / 2, t}) {  // then one at a time
    KeyValueCache cache;
    for (std::int64_t seen = 0; seen < t;) {
      const auto count = seen == 0 ? first : 1;
      const auto part = x.narrow(1, seen, count);
      const auto logits = model->extend(part, cache, context_of(part, /*training=*/false, 0, seen));
      seen += count;
      EXPECT_EQ(cache.length(), seen);
      EXPECT_LE(relative_error(logits, whole.select(1, seen - 1)), kDouble) << seen;
    }
  }
  KeyValueCache cache;  // two pieces of several positions
  const auto head = x.narrow(1, 0, t / 2), tail = x.narrow(1, t / 2, t - t / 2);
  if (t / 2 > 0) model->extend(head, cache, context_of(head, false));
  EXPECT_LE(relative_error(model->extend(tail, cache, context_of(tail, false, 0, t / 2)),
                           whole.select(1, t - 1)),
            kDouble);
}

TEST_P(PropertiesTest, ExtendEqualsForward) {
  const at::NoGradGuard no_grad;
  for (const auto engine : kEngines) {
    const Built built(config(), engine);
    // One sequence, a few, and more than are decoded one by one.
    expect_extend_equals_forward(built.model, ids().narrow(0, 0, 1));
    expect_extend_equals_forward(built.model, ids());
    expect_extend_equals_forward(built.model, ids().repeat({9, 1}));
  }
}

TEST_P(PropertiesTest, CapacityIsForTrainingAndSlotsAddUp) {
  const at::NoGradGuard no_grad;
  const Built built(config());
  auto model = built.model;
  const auto x = ids();
  const auto& p = GetParam();
  std::int64_t slots = 0;
  for (const auto& layer : model->spec().layers) slots += x.numel() * layer.feed_forward.top_k;
  const auto evaluated = model->forward(x, {}, context_of(x, /*training=*/false));
  EXPECT_EQ(evaluated.expert_load.sum().item<std::int64_t>(), slots);
  EXPECT_EQ(evaluated.expert_load.sizes(),
            (std::vector<std::int64_t>{p.layers, model->spec().most_experts()}));
  const auto trained = model->forward(x, {}, context_of(x, /*training=*/true));
  const auto served = trained.expert_load.sum().item<std::int64_t>();
  const auto capacity_factor = config().moe.capacity_factor;
  if (!capacity_factor) {
    EXPECT_EQ(served, slots);
    return;
  }
  EXPECT_LT(served, slots);  // the cases have capacities below the even share
  const auto capacity = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(static_cast<double>(x.numel() * p.top_k) /
                                   static_cast<double>(p.experts) * *capacity_factor));
  EXPECT_LE(trained.expert_load.max().item<std::int64_t>(), capacity);
}

TEST_P(PropertiesTest, EvaluationRepeatsAndTrainingFollowsItsKey) {
  const at::NoGradGuard no_grad;
  const Built built(config());
  auto model = built.model;
  const auto x = ids();
  auto context = context_of(x, /*training=*/false);
  const auto evaluated = model->forward(x, {}, context).logits;
  context.key = kKey + 1;
  EXPECT_EQ(at::equal(model->forward(x, {}, context).logits, evaluated), !GetParam().noise_in_eval);
  context.training = true;
  const auto trained = model->forward(x, {}, context).logits;
  EXPECT_TRUE(at::equal(model->forward(x, {}, context).logits, trained));
  context.key = kKey + 2;
  if (GetParam().dropout > 0) {
    EXPECT_FALSE(at::equal(model->forward(x, {}, context).logits, trained));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, PropertiesTest, testing::ValuesIn(model_cases()),
                         [](const auto& test_info) { return std::string(test_info.param.name); });

}  // namespace
}  // namespace moe
