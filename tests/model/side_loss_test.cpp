// Side losses and ways to choose, through whole layers: closed forms, and mistakes that others made
// (MODEL.md names them).

#include "model/side_loss.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/model/model_cases.h"
#include "tests/support/golden.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tolerance.h"

namespace moe {
namespace {

using namespace test;

constexpr std::int64_t kExperts = 4, kTopK = 2;  // of tiny_config

class SideLossTest : public testing::TestWithParam<EngineKind> {
 protected:
  SideLossTest() {
    at::manual_seed(7);
    ids_ = random_ids(3, 6);
  }

  /// A model of plain routers that `set` changes, all of whose router weights are 0.
  static Built indifferent(void (*set)(ModelConfig&)) {
    auto config = tiny_config();
    config.moe.router = RouterKind::topk;
    set(config);
    Built built(config, GetParam());
    for (const auto& tensor : built.flat.layout())
      if (tensor.name.find("router.") != std::string::npos) built.value(tensor.name).zero_();
    return built;
  }
  LmOutput forward(Built& built, bool training = true) const {
    auto context = context_of(ids_, training);
    context.keeps_routing = true;
    return built.model->forward(ids_, ids_, context);
  }
  static double term(const LmOutput& out, std::size_t layer, SideTerm which) {
    return out.side.at(layer).terms[which].item<double>();
  }

  at::Tensor ids_;
};

TEST_P(SideLossTest, AtLogitsOfZeroTheZLossIsTheSquaredLogarithmOfTheNumberOfExperts) {
  auto built = indifferent([](ModelConfig& config) { config.moe.z_loss = 0.5; });
  const auto out = forward(built);
  const auto want = std::pow(std::log(kExperts), 2);
  for (const std::size_t layer : {0U, 1U}) {
    EXPECT_NEAR(term(out, layer, kZLoss), want, kDouble);
    EXPECT_NEAR(out.side[layer].loss.item<double>(), 0.5 * want, kDouble);
  }
  EXPECT_NEAR(total_loss(out).item<double>(), out.loss.item<double>() + want, kDouble);
}

// Zero logits choose experts 0 and 1, each with probability 1/E. A mean of the probabilities over
// the chosen alone would give E/K, shares that sum to K would give K.
TEST_P(SideLossTest, TheSwitchLossTakesProbabilitiesOverAllExperts) {
  auto built = indifferent([](ModelConfig& config) {
    config.moe.balance = {switch_loss(1), switch_loss(1, BalanceScope::sequence)};
  });
  const auto out = forward(built);
  EXPECT_NEAR(term(out, 0, kSwitchBatch), 1, kDouble);
  EXPECT_NEAR(term(out, 0, kSwitchSequence), 1, kDouble);
}

// Over the layers' counts together, these two would look even.
TEST_P(SideLossTest, LayersThatAreUnevenInOppositeWaysDoNotCancel) {
  auto built = indifferent([](ModelConfig& config) { config.moe.balance = {switch_loss(1)}; });
  constexpr double kSure = 40;  // e^-40 is nothing beside 1
  built.value("blocks.0.smoe.router.linear.bias").narrow(0, 0, kTopK).fill_(kSure);
  built.value("blocks.1.smoe.router.linear.bias").narrow(0, kTopK, kTopK).fill_(kSure);
  const auto out = forward(built);
  const auto collapsed = static_cast<double>(kExperts) / kTopK;
  EXPECT_NEAR(total_loss(out).item<double>() - out.loss.item<double>(), 2 * collapsed, kDouble);
}

TEST_P(SideLossTest, OfEqualLogitsTheFirstExpertsAreChosen) {
  auto built = indifferent([](ModelConfig&) {});
  for (const auto& routing : forward(built, /*training=*/false).routing)
    EXPECT_TRUE(at::equal(routing.experts, at::arange(kTopK).expand_as(routing.experts)));
}

TEST_P(SideLossTest, EvaluationHasNoneAndLeavesTheBias) {
  auto built = indifferent([](ModelConfig& config) {
    config.moe.balance = {switch_loss(1), loss_free()};
    config.moe.z_loss = 1;
  });
  const auto before = built.flat.values().clone();
  const auto out = forward(built, /*training=*/false);
  EXPECT_TRUE(out.side.empty());
  EXPECT_TRUE(at::equal(total_loss(out), out.loss));
  EXPECT_TRUE(at::equal(built.flat.values(), before));
}

TEST_P(SideLossTest, TheSumsCountWhatTheRouterChoseWhateverACapacityDrops) {
  auto built = indifferent([](ModelConfig& config) {
    config.moe.balance = {loss_free()};
    config.moe.capacity_factor = 0.5;
  });
  const auto out = forward(built);
  const auto counts = out.side[0].sums[kChoices];
  EXPECT_EQ(counts.sum().item<double>(), static_cast<double>(ids_.numel() * kTopK));
  EXPECT_LT(out.expert_load[0].sum().item<std::int64_t>(), ids_.numel() * kTopK);
  EXPECT_TRUE(at::equal(counts.to(at::kLong),
                        at::bincount(out.routing[0].experts.flatten().cpu(), {}, kExperts)));
}

// With every expert chosen, a bias can only change their order.
TEST_P(SideLossTest, GatesDoNotDependOnTheBias) {
  for (const auto gate : {Gate::topk_softmax, Gate::softmax_topk, Gate::sigmoid}) {
    auto config = tiny_config();
    config.moe.top_k = config.moe.num_experts;
    config.moe.gate = gate;
    config.moe.balance = {loss_free()};
    Built built(config, GetParam());
    const auto gates_by_expert = [&] {
      const auto routing = forward(built, /*training=*/false).routing[0];
      return at::zeros_like(routing.gates).scatter(1, routing.experts, routing.gates);
    };
    const auto want = gates_by_expert();
    built.value("blocks.0.smoe.router.balance_bias")
        .copy_(at::tensor({3.0, -1.0, 5.0, 0.0}, at::kDouble));
    EXPECT_LE(relative_error(gates_by_expert(), want), kDouble);
  }
}

TEST_P(SideLossTest, AnExpertWithALargeBiasIsChosenByAll) {
  auto built = indifferent([](ModelConfig& config) { config.moe.balance = {loss_free()}; });
  built.value("blocks.0.smoe.router.balance_bias")
      .copy_(at::tensor({0.0, 0.1, 0.0, 0.2}, at::kDouble));
  const auto experts = forward(built, /*training=*/false).routing[0].experts;
  EXPECT_TRUE(experts.select(1, 0).eq(3).all().item<bool>());
  EXPECT_TRUE(experts.select(1, 1).eq(1).all().item<bool>());
}

// softplus of -1000 is 0, in double too.
TEST_P(SideLossTest, NoiseThatVanishesLeavesTheLoadLossAndItsGradientsFinite) {
  auto config = tiny_config();
  config.moe.balance = {importance_load(1)};
  Built built(config, GetParam());
  for (const auto* layer : {"0", "1"})
    built.value(std::string("blocks.") + layer + ".smoe.router.noise_linear.bias").fill_(-1000);
  built.flat.gradients().zero_();
  const auto out = forward(built);
  const auto chosen = out.side[0].sums[kLoad];
  EXPECT_LE(relative_error(chosen, out.side[0].sums[kChoices]), kDouble)
      << "a choice without doubt";
  total_loss(out).backward();
  EXPECT_TRUE(built.flat.gradients().isfinite().all().item<bool>());
}

// With one expert, whose gate is 1, the router decides nothing: what jitter reaches beyond it
// shows.
TEST_P(SideLossTest, JitterReachesTheRouterAlone) {
  auto config = tiny_config();
  config.moe.num_experts = config.moe.top_k = 1;
  Built plain(config, GetParam());
  config.moe.jitter = 0.9;
  Built jittered(config, GetParam());
  const auto want = forward(plain), got = forward(jittered);
  EXPECT_TRUE(at::equal(got.logits, want.logits));
  EXPECT_GT(relative_error(got.routing[0].logits, want.routing[0].logits), 1e-3);
  EXPECT_TRUE(at::equal(forward(jittered, false).routing[0].logits,
                        forward(plain, false).routing[0].logits))
      << "in evaluation there is none";
}

TEST_P(SideLossTest, HashRoutingServesEachExpertTheSymbolsThatHashToIt) {
  auto config = tiny_config();
  config.moe.router = RouterKind::hash;
  Built built(config, GetParam());
  const auto table = hash_experts(kVocab, kExperts, kTopK).to(at::kLong);
  const auto want =
      at::bincount(table.index_select(0, ids_.flatten().cpu()).flatten(), {}, kExperts);
  const auto out = forward(built);
  for (const std::int64_t layer : {0, 1}) {
    EXPECT_TRUE(at::equal(out.expert_load[layer], want));
    EXPECT_TRUE(at::equal(out.routing[static_cast<std::size_t>(layer)].experts.cpu(),
                          table.index_select(0, ids_.flatten().cpu())));
  }
}

INSTANTIATE_TEST_SUITE_P(Engines, SideLossTest, testing::ValuesIn(kEngines),
                         [](const auto& test_info) { return name_of(test_info.param); });

TEST(HashExperts, AreDistinctAndTheSameInEveryRun) {
  const auto table = hash_experts(1000, 7, 3);
  const auto chosen = at::zeros({1000, 7}).scatter(1, table.to(at::kLong), 1);
  EXPECT_TRUE(chosen.sum(1).eq(3).all().item<bool>());
  // 1000 symbols with 3 of 7 experts each: 429 an expert, and a deviation of 16.
  EXPECT_LE((chosen.sum(0) - 3000.0 / 7).abs().max().item<double>(), 5 * 16);
  // A model that was trained reads the same table ever after.
  EXPECT_TRUE(at::equal(table.narrow(0, 0, 4), hash_experts(4, 7, 3)));
}

TEST(LoadEstimate, IsTheShareOfRedrawnNoisesThatChooseTheExpert) {
  constexpr std::int64_t kRows = 6, kDraws = 20000;
  at::manual_seed(7);
  FeedForwardSpec spec{};
  spec.experts = 5;
  spec.top_k = 2;
  spec.balance.importance_load = 1;
  Routing routing;
  routing.logits = random_values({kRows, spec.experts});
  routing.noise_std = random_values({kRows, spec.experts}).abs() + 0.3;
  const auto noisy = routing.logits + random_values({kRows, spec.experts}) * routing.noise_std;
  routing = {.gates = at::ones({kRows, spec.top_k}, noisy.options()),
             .experts = std::get<1>(noisy.topk(spec.top_k, -1)),
             .logits = routing.logits,
             .noise_std = routing.noise_std,
             .noisy = noisy};
  const auto load = side_loss(spec, routing, 1, {}).sums[kLoad];
  for (std::int64_t e = 0; e < spec.experts; ++e) {
    auto redrawn = noisy.expand({kDraws, kRows, spec.experts}).clone();
    redrawn.select(2, e).copy_(routing.logits.select(1, e) +
                               random_values({kDraws, kRows}) * routing.noise_std.select(1, e));
    const auto is_chosen = std::get<1>(redrawn.topk(spec.top_k, -1)).eq(e).any(-1);
    const auto share = is_chosen.to(at::kDouble).mean(0).sum().item<double>();
    // Five deviations of a sum of kRows means of kDraws coins.
    const auto bound = 5 * std::sqrt(0.25 * kRows / kDraws);
    EXPECT_NEAR(load[e].item<double>(), share, bound) << e;
  }
}

TEST(SigmoidGates, SumToTheirScale) {
  auto config = tiny_config();
  config.moe.gate = Gate::sigmoid;
  config.moe.gate_scale = 2.5;
  for (const auto engine : kEngines) {
    Built built(config, engine);
    const auto ids = random_ids(2, 6);
    auto context = context_of(ids, false);
    context.keeps_routing = true;
    const auto sums = built.model->forward(ids, ids, context).routing[0].gates.sum(-1);
    EXPECT_LE(relative_error(sums, at::full_like(sums, 2.5)), kDouble);
  }
}

TEST(SigmoidGates, OfOneChoiceTeachTheRouterOnlyIfNotDividedByThemselves) {
  auto config = tiny_config();
  config.moe.gate = Gate::sigmoid;
  config.moe.top_k = 1;
  for (const auto engine : kEngines)
    for (const bool norm : {false, true}) {
      config.moe.gate_norm = norm;
      Built built(config, engine);
      const auto ids = random_ids(2, 6);
      built.model->forward(ids, ids, context_of(ids, true)).loss.backward();
      const auto name = "blocks.1.smoe.router.topkroute_linear.weight";
      const auto largest = built.gradient(name).abs().max().item<double>();
      EXPECT_EQ(largest > 1e-5, !norm) << name_of(engine);
    }
}

}  // namespace
}  // namespace moe
