// What holds for any weights (docs/MODEL.md section 6).

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "moe/model/build.h"
#include "moe/model/flat.h"
#include "moe/model/language_model.h"
#include "tests/support/golden.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using test::relative_error;

constexpr std::uint64_t kKey = 0x123456789ABCDEFULL;
constexpr std::int64_t kVocab = 13;

struct ModelCase {
  const char* name;
  std::int64_t embed, heads, layers, experts, top_k, block;
  std::int64_t batch, time;
  RouterKind router = RouterKind::noisy_topk;
  Gate gate = Gate::topk_softmax;
  double dropout = 0.2;
  std::optional<double> capacity_factor = std::nullopt;
};

ModelConfig config_of(const ModelCase& shape, Kernels kernels = Kernels::fast) {
  ModelConfig config;
  config.n_embed = shape.embed;
  config.n_head = shape.heads;
  config.n_layer = shape.layers;
  config.block_size = shape.block;
  config.dropout = shape.dropout;
  config.kernels = kernels;
  config.moe.num_experts = shape.experts;
  config.moe.top_k = shape.top_k;
  config.moe.router = shape.router;
  config.moe.gate = shape.gate;
  config.moe.capacity_factor = shape.capacity_factor;
  return config;
}

/// A model in double with the weights that seed 1 draws, in flat buffers.
struct Built {
  explicit Built(const ModelConfig& config) : model(drawn(config)), flat(model) {}

  static SparseMoELanguageModel drawn(const ModelConfig& config) {
    SparseMoELanguageModel source(config, kVocab), model(config, kVocab);
    initialise(source, /*seed=*/1);
    model->to(at::kDouble);
    const at::NoGradGuard no_grad;
    const auto from = source->named_parameters();
    for (auto& item : model->named_parameters()) item.value().copy_(from[item.key()]);
    return model;
  }

  SparseMoELanguageModel model;
  FlatParameters flat;
};

at::Tensor random_ids(std::int64_t batch, std::int64_t time) {
  return at::randint(kVocab, {batch, time}, at::TensorOptions(at::kLong));
}

ForwardContext context_of(const at::Tensor& ids, bool training, std::int64_t first_sequence = 0,
                          std::int64_t first_position = 0) {
  return make_context(ids.size(0), ids.size(1), training, kKey, at::kCPU, first_sequence,
                      first_position);
}

class PropertiesTest : public testing::TestWithParam<ModelCase> {
 protected:
  void SetUp() override { at::manual_seed(7); }

  ModelConfig config() const { return config_of(GetParam()); }
  at::Tensor ids() const { return random_ids(GetParam().batch, GetParam().time); }
};

TEST_P(PropertiesTest, FastEqualsReferenceInTraining) {
  Built fast(config()), reference(config_of(GetParam(), Kernels::reference));
  const auto x = ids(), targets = ids();
  const auto context = context_of(x, /*training=*/true);
  const auto a = fast.model->forward(x, targets, context);
  const auto b = reference.model->forward(x, targets, context);
  EXPECT_LE(relative_error(a.logits, b.logits), test::kDouble);
  EXPECT_LE(relative_error(a.loss, b.loss), test::kDouble);
  EXPECT_TRUE(at::equal(a.expert_load, b.expert_load));
  EXPECT_EQ(a.dropped, b.dropped);
  a.loss.backward();
  b.loss.backward();
  for (const auto& tensor : fast.flat.layout())
    EXPECT_LE(relative_error(FlatParameters::view(fast.flat.gradients(), tensor),
                             FlatParameters::view(reference.flat.gradients(), tensor)),
              test::kDouble)
        << tensor.name;
}

TEST_P(PropertiesTest, ChangingASymbolLeavesEarlierOutputs) {
  const at::NoGradGuard no_grad;
  if (GetParam().capacity_factor) GTEST_SKIP() << "a capacity is shared by the whole batch";
  const Built built(config());
  auto model = built.model;
  const auto x = ids();
  const auto last = x.size(1) - 1;
  auto changed = x.clone();
  changed.select(1, last).add_(1).remainder_(kVocab);
  for (const bool training : {false, true}) {
    const auto context = context_of(x, training);
    const auto before = model->forward(x, {}, context).logits;
    const auto after = model->forward(changed, {}, context).logits;
    EXPECT_LE(relative_error(after.narrow(1, 0, last), before.narrow(1, 0, last)), test::kDouble);
    EXPECT_GT(relative_error(after.select(1, last), before.select(1, last)), 1e-6);
  }
}

TEST_P(PropertiesTest, ARowIsIndependentOfItsBatchMates) {
  const at::NoGradGuard no_grad;
  if (GetParam().capacity_factor) GTEST_SKIP() << "a capacity is shared by the whole batch";
  const Built built(config());
  auto model = built.model;
  const auto x = ids();
  for (const bool training : {false, true}) {
    const auto together = model->forward(x, {}, context_of(x, training)).logits;
    for (std::int64_t row = 0; row < x.size(0); ++row) {
      const auto one = x.narrow(0, row, 1);
      const auto alone = model->forward(one, {}, context_of(one, training, row)).logits;
      EXPECT_LE(relative_error(alone, together.narrow(0, row, 1)), test::kDouble) << row;
    }
  }
}

TEST_P(PropertiesTest, ExtendEqualsForward) {
  const at::NoGradGuard no_grad;
  for (const auto kernels : {Kernels::fast, Kernels::reference}) {
    const Built built(config_of(GetParam(), kernels));
    auto model = built.model;
    const auto x = ids();
    const auto t = x.size(1);
    const auto whole = model->forward(x, {}, context_of(x, /*training=*/false)).logits;
    for (const std::int64_t first : {std::int64_t{1}, (t + 1) / 2, t}) {  // then one at a time
      KeyValueCache cache;
      for (std::int64_t seen = 0; seen < t;) {
        const auto count = seen == 0 ? first : 1;
        const auto part = x.narrow(1, seen, count);
        const auto logits =
            model->extend(part, cache, context_of(part, /*training=*/false, 0, seen));
        seen += count;
        EXPECT_EQ(cache.length(), seen);
        EXPECT_LE(relative_error(logits, whole.select(1, seen - 1)), test::kDouble) << seen;
      }
    }
    KeyValueCache cache;  // two pieces of several positions
    const auto head = x.narrow(1, 0, t / 2), tail = x.narrow(1, t / 2, t - t / 2);
    if (t / 2 > 0) model->extend(head, cache, context_of(head, false));
    EXPECT_LE(relative_error(model->extend(tail, cache, context_of(tail, false, 0, t / 2)),
                             whole.select(1, t - 1)),
              test::kDouble);
  }
}

TEST_P(PropertiesTest, CapacityIsForTrainingAndSlotsAddUp) {
  const at::NoGradGuard no_grad;
  const Built built(config());
  auto model = built.model;
  const auto x = ids();
  const auto& p = GetParam();
  const auto slots = x.numel() * p.top_k * p.layers;
  const auto evaluated = model->forward(x, {}, context_of(x, /*training=*/false));
  EXPECT_EQ(evaluated.dropped, 0);
  EXPECT_EQ(evaluated.expert_load.sum().item<std::int64_t>(), slots);
  EXPECT_EQ(evaluated.expert_load.sizes(), (std::vector<std::int64_t>{p.layers, p.experts}));
  const auto trained = model->forward(x, {}, context_of(x, /*training=*/true));
  EXPECT_EQ(trained.expert_load.sum().item<std::int64_t>() + trained.dropped, slots);
  if (!p.capacity_factor) {
    EXPECT_EQ(trained.dropped, 0);
    return;
  }
  EXPECT_GT(trained.dropped, 0);  // the cases have capacities below the even share
  const auto capacity = std::max<std::int64_t>(
      1, static_cast<std::int64_t>(static_cast<double>(x.numel() * p.top_k) /
                                   static_cast<double>(p.experts) * *p.capacity_factor));
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
  EXPECT_TRUE(at::equal(model->forward(x, {}, context).logits, evaluated));
  context.training = true;
  const auto trained = model->forward(x, {}, context).logits;
  EXPECT_TRUE(at::equal(model->forward(x, {}, context).logits, trained));
  context.key = kKey + 2;
  if (GetParam().dropout > 0) {
    EXPECT_FALSE(at::equal(model->forward(x, {}, context).logits, trained));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, PropertiesTest,
    testing::Values(
        // name, C, H, L, E, K, block, B, T
        ModelCase{"plain", 16, 4, 2, 4, 2, 8, 3, 8},
        ModelCase{"one_expert", 8, 2, 2, 1, 1, 6, 2, 6},
        ModelCase{"all_experts", 8, 2, 2, 3, 3, 6, 2, 6},
        ModelCase{"one_token", 8, 2, 2, 4, 2, 6, 1, 1},
        ModelCase{"one_position", 8, 2, 2, 4, 2, 1, 3, 1},
        ModelCase{"empty_experts", 8, 2, 2, 32, 2, 6, 1, 4},
        ModelCase{"odd", 12, 3, 1, 5, 3, 7, 3, 5}, ModelCase{"one_head", 6, 1, 2, 4, 2, 5, 2, 5},
        ModelCase{"heads_of_one", 4, 4, 3, 4, 2, 5, 2, 5},
        ModelCase{"topk_router", 8, 2, 2, 4, 2, 6, 2, 6, RouterKind::topk},
        ModelCase{"softmax_topk", 8, 2, 2, 4, 1, 6, 2, 6, RouterKind::noisy_topk,
                  Gate::softmax_topk},
        ModelCase{"sigmoid", 8, 2, 2, 4, 2, 6, 2, 6, RouterKind::noisy_topk, Gate::sigmoid},
        ModelCase{"no_dropout", 8, 2, 2, 4, 2, 6, 2, 6, RouterKind::noisy_topk, Gate::topk_softmax,
                  0},
        ModelCase{"capacity", 8, 2, 2, 4, 2, 6, 4, 6, RouterKind::noisy_topk, Gate::topk_softmax,
                  0.1, 0.5}),
    [](const auto& test_info) { return std::string(test_info.param.name); });

}  // namespace
}  // namespace moe
