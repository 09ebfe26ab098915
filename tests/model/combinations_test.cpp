// Models drawn from the whole space of keys, as no list of cases would combine them: the engines
// against one another in double, what an output depends on, and decoding.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "moe/config/load.h"
#include "tests/support/golden.h"
#include "tests/support/operations.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

constexpr int kModels = 160;
/// A value that fewer draws hold is hardly tested together with others.
constexpr int kLeastModels = 8;

/// A key of a config and the values that it takes here.
struct Axis {
  std::string key;
  std::vector<std::string> values;
};

const std::vector<Axis>& space() {
  static const std::vector<Axis> axes{
      {"model.n_embed", {"8", "12", "20"}},
      {"model.n_head", {"1", "2", "4"}},
      {"model.n_layer", {"1", "2", "3"}},
      {"model.block_size", {"5", "8", "18"}},
      {"model.dropout", {"0", "0.2"}},
      {"model.dropouts.embedding", {"null", "0.3"}},
      {"model.dropouts.attention", {"null", "0"}},
      {"model.dropouts.residual", {"null", "0.4"}},
      {"model.dropouts.expert", {"null", "0.1"}},
      {"model.init", {"default", "kaiming_normal", "xavier_normal", "small_normal"}},
      {"model.init_embedding_std", {"null", "0.5"}},
      {"model.attention_scale", {"head_size", "n_embed"}},
      {"model.norm", {"layer", "rms"}},
      {"model.positions", {"learned", "rotary", "none"}},
      {"model.rotary_base", {"10000", "50"}},
      {"model.qk_norm", {"none", "head"}},
      {"model.qk_gain", {"1", "2"}},
      {"model.bias", {"true", "false"}},
      {"model.tied", {"true", "false"}},
      {"model.short_conv", {"0", "2", "3"}},
      {"model.x0_shortcut", {"false", "true"}},
      {"model.ngram.orders", {"[]", "[2]", "[3, 2]"}},
      {"model.ngram.dropout", {"0", "0.3"}},
      {"model.value_residual", {"false", "true"}},
      {"model.moe.num_experts", {"1", "3", "4", "9"}},
      {"model.moe.top_k", {"1", "2", "3"}},
      {"model.moe.router",
       {"noisy_topk", "topk", "hash", "hash"}},  // beside a balance it is refused
      {"model.moe.gate", {"topk_softmax", "softmax_topk", "sigmoid"}},
      {"model.moe.gate_norm", {"true", "false"}},
      {"model.moe.gate_scale", {"1", "1.6"}},
      {"model.moe.activation", {"relu", "gelu", "silu", "relu2", "swiglu"}},
      {"model.moe.expert_width", {"null", "5", "16"}},
      {"model.moe.noise_in_eval", {"true", "false"}},
      {"model.moe.capacity_factor", {"null", "null", "0.6"}},
      {"model.moe.balance",
       {"[]", R"([{"kind": "switch", "weight": 0.7}])",
        R"([{"kind": "switch", "weight": 0.5, "scope": "sequence"}, {"kind": "loss_free"}])",
        R"([{"kind": "importance_load", "weight": 0.4}])"}},
      {"model.moe.z_loss", {"0", "0.3"}},
      {"model.moe.router_init_std", {"null", "0.5"}},
      {"model.moe.jitter", {"0", "0.3"}},
      {"model.moe.hash_layers", {"[]", "[0]"}},
      {"model.moe.shared_experts", {"0", "2"}},
      {"model.moe.shared_gate", {"false", "true"}}};
  return axes;
}

/// A model as overrides of the defaults.
using Draw = std::vector<std::string>;

RunConfig config_of(const Draw& draw) {
  RunConfig config;
  apply_overrides(config, draw);
  return config;
}

/// The first kModels models of a fixed sequence that make sense.
const std::vector<Draw>& draws() {
  static const std::vector<Draw> all = [] {
    std::mt19937_64 random(15);
    std::vector<Draw> found;
    while (found.size() < kModels) {
      Draw draw;
      for (const auto& axis : space())
        draw.push_back(axis.key + "=" + axis.values[random() % axis.values.size()]);
      if (config_problems(config_of(draw)).empty()) found.push_back(std::move(draw));
    }
    return found;
  }();
  return all;
}

TEST(Combinations, HoldEveryValueOfTheSpace) {
  std::map<std::string, int> counts;
  for (const auto& draw : draws())
    for (const auto& value : draw) ++counts[value];
  for (const auto& axis : space())
    for (const auto& value : axis.values)
      EXPECT_GE(counts[axis.key + "=" + value], kLeastModels) << axis.key << "=" << value;
}

class CombinationTest : public testing::TestWithParam<int> {
 protected:
  CombinationTest() {
    at::manual_seed(19);
    ids_ = random_ids(3, config_.block_size - 1);
  }

  /// What is tested, for messages.
  static std::string text() {
    std::string out;
    for (const auto& value : draw()) out += " --set " + value;
    return out;
  }
  static const Draw& draw() { return draws()[static_cast<std::size_t>(GetParam())]; }

  /// (B, T, V) logits.
  static at::Tensor logits_of(Built& built, const at::Tensor& ids, bool training,
                              std::int64_t first_sequence = 0) {
    const auto context = context_of(ids, training, first_sequence);
    return built.model->forward(ids, {}, context).logits.view({ids.size(0), ids.size(1), kVocab});
  }

  ModelConfig config_ = config_of(draw()).model;
  at::Tensor ids_;
};

TEST_P(CombinationTest, EnginesAgreeOnLossLoadAndEveryGradient) {
  const auto targets = random_ids(ids_.size(0), ids_.size(1));
  Built reference(config_, EngineKind::reference);
  const auto want = reference.model->forward(ids_, targets, context_of(ids_, /*training=*/true));
  total_loss(want).backward();
  for (const auto kind : {EngineKind::fast, EngineKind::stacked}) {
    SCOPED_TRACE(name_of(kind) + text());
    Built built(config_, kind);
    const auto got = built.model->forward(ids_, targets, context_of(ids_, /*training=*/true));
    EXPECT_LE(relative_error(got.logits, want.logits), kDouble);
    EXPECT_LE(relative_error(total_loss(got), total_loss(want)), kDouble);
    EXPECT_TRUE(at::equal(got.expert_load, want.expert_load));
    total_loss(got).backward();
    for (const auto& tensor : built.flat.trained_layout())
      EXPECT_LE(relative_error(built.gradient(tensor.name), reference.gradient(tensor.name)),
                kDouble)
          << tensor.name;
  }
}

TEST_P(CombinationTest, AnOutputKnowsNoLaterTokenAndNoBatchMate) {
  const at::NoGradGuard no_grad;
  SCOPED_TRACE(text());
  Built built(config_);
  const auto position = ids_.size(1) / 2, row = std::int64_t{1};
  auto changed = ids_.clone();
  changed[row][position].add_(1).remainder_(kVocab);
  for (const bool training : {false, true}) {
    if (training && config_.moe.capacity_factor)
      continue;  // CapacityTest says who may push out whom
    const auto before = logits_of(built, ids_, training);
    const auto after = logits_of(built, changed, training);
    EXPECT_LE(relative_error(after.narrow(1, 0, position), before.narrow(1, 0, position)), kDouble);
    for (const std::int64_t mate : {0, 2})
      EXPECT_LE(relative_error(after[mate], before[mate]), kDouble) << mate;
    EXPECT_FALSE(at::equal(after[row][position], before[row][position]));
    const auto alone = logits_of(built, ids_.narrow(0, row, 1), training, row);
    EXPECT_LE(relative_error(alone[0], before[row]), kDouble);
  }
}

/// What the stacked engine does for one forward and backward of `ids`.
std::vector<std::string> stacked_operations(const ModelConfig& config, const at::Tensor& ids) {
  Built built(config, EngineKind::stacked);
  const auto context = context_of(ids, /*training=*/true);
  const auto pass = [&] { total_loss(built.model->forward(ids, ids, context)).backward(); };
  pass();  // what is made once
  const RecordedOperations operations;
  pass();
  EXPECT_EQ(operations.waiting(), std::vector<std::string>{});
  return operations.all();
}

TEST_P(CombinationTest, AStackedPassWaitsForNothingAndItsShapesDependOnNoValue) {
  SCOPED_TRACE(text());
  const auto operations = stacked_operations(config_, ids_);
  EXPECT_FALSE(operations.empty());
  // All tokens alike: every choice falls on the same experts.
  EXPECT_EQ(operations, stacked_operations(config_, at::zeros_like(ids_)));
}

TEST_P(CombinationTest, DecodingEqualsForward) {
  const at::NoGradGuard no_grad;
  for (const auto kind : kEngines) {
    SCOPED_TRACE(name_of(kind) + text());
    Built built(config_, kind);
    const auto want = logits_of(built, ids_, /*training=*/false);
    KeyValueCache cache;
    for (std::int64_t seen = 0; seen < ids_.size(1);) {
      const auto part = ids_.narrow(1, seen, seen == 0 ? 2 : 1);
      const auto got = built.model->extend(part, cache, context_of(part, false, 0, seen));
      seen += part.size(1);
      EXPECT_LE(relative_error(got, want.select(1, seen - 1)), kDouble) << seen;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Drawn, CombinationTest, testing::Range(0, kModels));

}  // namespace
}  // namespace moe
