// Slots an expert has: counted, dropped by position, in training alone (ADR 10).

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "tests/model/dense_reference.h"
#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

constexpr double kFactors[] = {1e-6, 0.1, 0.5, 1.0, 1.25, 2.0};
constexpr double kRoom = 100;  // more slots than tokens

class CapacityTest : public testing::TestWithParam<EngineKind> {
 protected:
  void SetUp() override { at::manual_seed(7); }

  /// No draws at all, so that training differs from evaluation by the capacity alone.
  static ModelConfig config(std::optional<double> factor) {
    auto config = tiny_config();
    config.moe.router = RouterKind::topk;
    config.moe.capacity_factor = factor;
    return config;
  }

  static LmOutput forward(Built& built, const at::Tensor& ids, bool training) {
    return built.model->forward(ids, {}, context_of(ids, training));
  }

  /// Of all layers, what the experts did not serve.
  static std::int64_t dropped(const Built& built, const LmOutput& out, const at::Tensor& ids) {
    const auto& c = built.config;
    return ids.numel() * c.moe.top_k * c.n_layer - out.expert_load.sum().item<std::int64_t>();
  }

  /// int(N * K / E * factor), at least 1.
  static std::int64_t slots_of(const ModelConfig& config, std::int64_t tokens) {
    const auto share = static_cast<double>(tokens * config.moe.top_k) /
                       static_cast<double>(config.moe.num_experts);
    return std::max<std::int64_t>(1,
                                  static_cast<std::int64_t>(share * *config.moe.capacity_factor));
  }
};

TEST_P(CapacityTest, KeptAndDroppedSlotsAddUpAtEveryFactor) {
  const at::NoGradGuard no_grad;
  Built dropless(config(std::nullopt), GetParam());
  const auto ids = random_ids(4, 6);
  const auto wanted = forward(dropless, ids, /*training=*/true).expert_load;
  for (const auto factor : kFactors) {
    SCOPED_TRACE(factor);
    Built built(config(factor), GetParam());
    const auto out = forward(built, ids, /*training=*/true);
    const auto& c = built.config;
    const auto most = slots_of(c, ids.numel());
    EXPECT_GE(dropped(built, out, ids), 0);
    EXPECT_LE(out.expert_load.max().item<std::int64_t>(), most);
    // The first layer sees what the dropless one sees: it serves all up to its capacity.
    EXPECT_TRUE(at::equal(out.expert_load[0], wanted[0].clamp_max(most)));
  }
}

TEST_P(CapacityTest, LaterTokensAreDroppedFirst) {
  const at::NoGradGuard no_grad;
  for (const auto factor : kFactors) {
    SCOPED_TRACE(factor);
    Built built(config(factor), GetParam());
    const auto x = random_values({4, 6, built.config.n_embed});
    const auto tokens = x.flatten(0, 1);  // (row, time) order
    const auto out = built.mix(0, x, make_context(4, 6, /*training=*/true, kKey));
    const DenseMixture dense(built);
    const auto normed = dense.norm(tokens);
    const auto all = dense.gates(dense.logits(normed, {}));
    const auto kept = DenseMixture::cut(all, slots_of(built.config, 24));
    EXPECT_LE(relative_error(out.y.flatten(0, 1), tokens + dense.forward(normed, kept)), kDouble);
    EXPECT_EQ(out.load.sum().item<std::int64_t>(), kept.gt(0).sum().item<std::int64_t>());
    if (factor <= 1) {
      EXPECT_LT(out.load.sum().item<std::int64_t>(), all.gt(0).sum().item<std::int64_t>());
    }
  }
}

TEST_P(CapacityTest, EveryExpertHasAtLeastOneSlot) {
  const at::NoGradGuard no_grad;
  Built built(config(1e-6), GetParam());
  const auto ids = random_ids(1, 1);  // int(B*T*K/E * factor) would be 0
  const auto out = forward(built, ids, /*training=*/true);
  EXPECT_EQ(dropped(built, out, ids), 0);
  EXPECT_EQ(out.expert_load.sum().item<std::int64_t>(), 2 * built.config.moe.top_k);
}

TEST_P(CapacityTest, RoomForAllIsDropless) {
  const at::NoGradGuard no_grad;
  Built roomy(config(kRoom), GetParam()), dropless(config(std::nullopt), GetParam());
  const auto ids = random_ids(4, 6);
  const auto out = forward(roomy, ids, /*training=*/true);
  EXPECT_EQ(dropped(roomy, out, ids), 0);
  EXPECT_TRUE(at::equal(out.logits, forward(dropless, ids, /*training=*/true).logits));
}

TEST_P(CapacityTest, EvaluationDropsNothing) {
  const at::NoGradGuard no_grad;
  Built cut(config(1e-6), GetParam()), dropless(config(std::nullopt), GetParam());
  const auto ids = random_ids(4, 6);
  const auto out = forward(cut, ids, /*training=*/false);
  EXPECT_EQ(dropped(cut, out, ids), 0);
  EXPECT_TRUE(at::equal(out.logits, forward(dropless, ids, /*training=*/false).logits));
  EXPECT_GT(dropped(cut, forward(cut, ids, /*training=*/true), ids), 0);
}

TEST_P(CapacityTest, DecodingKeepsTheLastPosition) {
  const at::NoGradGuard no_grad;
  Built cut(config(1e-6), GetParam()), dropless(config(std::nullopt), GetParam());
  const auto ids = random_ids(1, 6);
  KeyValueCache cache;
  for (std::int64_t t = 1; t <= 6; ++t) {
    const auto seen = ids.narrow(1, 0, t), last = ids.narrow(1, t - 1, 1);
    const auto whole = forward(dropless, seen, /*training=*/false).logits.select(1, t - 1);
    EXPECT_LE(relative_error(forward(cut, seen, /*training=*/false).logits.select(1, t - 1), whole),
              kDouble);
    const auto context = context_of(last, /*training=*/false, 0, t - 1);
    EXPECT_LE(relative_error(cut.model->extend(last, cache, context), whole), kDouble) << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, CapacityTest, testing::ValuesIn(kEngines),
                         [](const auto& test_info) { return name_of(test_info.param); });

}  // namespace
}  // namespace moe
