// Balance over whole updates: batches of one update, the bias that no gradient moves.

#include "train/balance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "moe/eval/evaluator.h"
#include "tests/support/golden.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

/// The same sum in parts of another size: float rounds each of some hundred additions at 6e-8.
constexpr double kOtherBatches = 2e-5;

struct Balanced {
  const char* name;
  void (*set)(MoeConfig&);
};

const Balanced kBalanced[] = {
    {"switch_batch",
     [](MoeConfig& moe) {
       moe.balance = {{BalanceKind::switch_loss, 0.5}};
     }},
    {"switch_sequence",
     [](MoeConfig& moe) {
       moe.balance = {{BalanceKind::switch_loss, 0.5, 0.001, BalanceScope::sequence}};
     }},
    {"importance_load",
     [](MoeConfig& moe) {
       moe.balance = {{BalanceKind::importance_load, 0.5}};
     }},
    {"z_loss", [](MoeConfig& moe) { moe.z_loss = 0.1; }},
    {"loss_free",
     [](MoeConfig& moe) {
       moe.balance = {{BalanceKind::loss_free, 0.01, 0.25}};
     }},
    {"all",
     [](MoeConfig& moe) {
       moe.balance = {{BalanceKind::switch_loss, 0.5},
                      {BalanceKind::switch_loss, 0.2, 0.001, BalanceScope::sequence},
                      {BalanceKind::importance_load, 0.5}};
       moe.z_loss = 0.1;
       moe.jitter = 0.2;
     }},
    {"hash_layer", [](MoeConfig& moe) {
       moe.hash_layers = {0};
       moe.balance = {{BalanceKind::switch_loss, 0.5}, {BalanceKind::loss_free, 0.01, 0.25}};
       moe.z_loss = 0.1;
     }}};

class BalanceTest : public testing::TestWithParam<std::tuple<Balanced, Kernels>> {
 protected:
  static RunConfig config(std::int64_t micro = 1, std::int64_t batch = 12) {
    auto config = tiny_run();
    // An update of about the size of the gradient, where AdamW's is of about 1 whatever it is.
    config.optim.learning_rate = 1;
    config.optim.eps = 1;
    config.optim.weight_decay = 0;
    config.model.kernels = std::get<1>(GetParam());
    config.train.grad_accumulation = micro;
    config.train.batch_size = batch;
    std::get<0>(GetParam()).set(config.model.moe);
    return config;
  }
};

TEST_P(BalanceTest, SmallBatchesOfAnUpdateEqualOneLargeBatch) {
  TinyRun whole(config());
  std::vector<StepResult> want;
  for (int i = 0; i < 3; ++i) want.push_back(train_step(whole.state));
  for (const auto& [micro, batch] : {std::pair{2, 6}, std::pair{3, 4}, std::pair{12, 1}}) {
    SCOPED_TRACE(std::to_string(micro) + " of " + std::to_string(batch));
    TinyRun parts(config(micro, batch));
    for (const auto& step : want) {
      const auto got = train_step(parts.state);
      EXPECT_NEAR(got.loss, step.loss, kOtherBatches);
      EXPECT_NEAR(got.grad_norm, step.grad_norm, kOtherBatches * step.grad_norm);
      for (std::size_t term = 0; term < step.side_terms.size(); ++term) {
        if (std::isnan(step.side_terms[term])) continue;
        EXPECT_NEAR(got.side_terms[term], step.side_terms[term], kOtherBatches) << term;
      }
    }
    EXPECT_EQ(parts.state.sampler.state(), whole.state.sampler.state());
    EXPECT_LE(relative_error(parts.state.flat.values(), whole.state.flat.values()), kOtherBatches);
    for (const auto& tensor : whole.state.flat.trained_layout())
      EXPECT_LE(relative_error(parts.gradient(tensor.name), whole.gradient(tensor.name)),
                kOtherBatches)
          << tensor.name;
    for (const auto& tensor : whole.state.flat.layout()) {
      if (!tensor.name.ends_with("balance_bias")) continue;
      EXPECT_TRUE(at::equal(parts.value(tensor.name), whole.value(tensor.name))) << tensor.name;
    }
  }
}

TEST_P(BalanceTest, AResumedRunGoesOnBitForBit) {
  TinyRun whole(config(2, 3));
  for (int i = 0; i < 3; ++i) train_step(whole.state);
  const Snapshot saved(whole.state);
  for (int i = 0; i < 3; ++i) train_step(whole.state);
  TinyRun resumed(config(2, 3));
  resumed.state.flat.values().fill_(0.5);
  saved.restore(resumed.state);
  for (int i = 0; i < 3; ++i) {
    evaluate_full(resumed.state.model, resumed.tokens, 1);
    train_step(resumed.state);
  }
  EXPECT_TRUE(Snapshot(resumed.state) == Snapshot(whole.state));
}

INSTANTIATE_TEST_SUITE_P(Kinds, BalanceTest,
                         testing::Combine(testing::ValuesIn(kBalanced),
                                          testing::Values(Kernels::fast, Kernels::reference)),
                         [](const auto& test_info) {
                           return std::string(std::get<0>(test_info.param).name) +
                                  (std::get<1>(test_info.param) == Kernels::fast ? "_fast"
                                                                                 : "_reference");
                         });

/// So many windows that counts are beyond what 8 bits tell apart: in bfloat16 signs would flip.
constexpr std::int64_t kBatch = 40;

RunConfig with_bias(std::int64_t micro = 1) {
  auto config = tiny_run();
  config.model.moe.router = RouterKind::topk;
  config.model.moe.balance = {{BalanceKind::loss_free, 0.01, 0.25}};
  config.train.grad_accumulation = micro;
  config.train.batch_size = kBatch;
  return config;
}
const std::string kBias = "blocks.1.smoe.router.balance_bias";

// Batches whose counts lack opposite experts would each move the bias; the update does not.
TEST(BalanceBias, MovesOncePerUpdateByTheSignOfWhatEachExpertLacks) {
  TinyRun run(with_bias(/*micro=*/3));
  auto want = at::zeros({4});
  for (int i = 0; i < 3; ++i) {
    train_step(run.state);
    const auto counts = run.state.update_sums[1][kChoices];
    EXPECT_EQ(counts.sum().item<double>(), 3 * kBatch * 8 * 2);
    ASSERT_GT((counts.mean() - counts).abs().max().item<double>(), 0);
    want = want + (counts.mean() - counts).sign().to(at::kFloat) * 0.25;
    EXPECT_TRUE(at::equal(run.value(kBias), want)) << i;
  }
  EXPECT_GT(run.value(kBias).abs().max().item<float>(), 0);
}

// Rounded to bfloat16, all of these are 1000.
TEST(BalanceBias, TellsCountsApartThatDifferByOneToken) {
  TinyRun run(with_bias());
  run.state.update_sums[1][kChoices].copy_(
      at::tensor({1001.0, 999.0, 1000.0, 1000.0}, at::kDouble));
  move_balance_biases(run.state);
  EXPECT_TRUE(at::equal(run.value(kBias), at::tensor({-0.25F, 0.25F, 0.0F, 0.0F})));
}

// One that was replaced would leave zeros in what checkpoints and kernels read.
TEST(BalanceBias, IsTheTensorThatTheRouterReadsAndCheckpointsSave) {
  TinyRun run(with_bias());
  train_step(run.state);
  EXPECT_EQ(run.value(kBias).const_data_ptr(), run.state.model->balance_bias(1).const_data_ptr());
}

TEST(BalanceBias, EvensTheLoadOfARouterThatStartsUneven) {
  auto config = with_bias();
  config.optim.learning_rate = 0;
  config.model.moe.balance.front().rate = 0.01;
  TinyRun run(config);
  const auto name = "blocks.1.smoe.router.linear.bias";
  run.value(name).copy_(at::tensor({2.0F, 1.0F, 0.0F, -1.0F}));
  const auto spread = [&] {
    const auto counts = run.state.update_sums[1][kChoices];
    return (counts.max() / counts.mean()).item<double>();
  };
  train_step(run.state);
  const auto before = spread();
  for (int i = 0; i < 100; ++i) train_step(run.state);
  EXPECT_GT(before, 1.8) << "of 2 at most";
  EXPECT_LT(spread(), 1.3);
}

TEST(BalanceBias, IsNoParameterOfTheOptimizerOrTheCounts) {
  TinyRun with(with_bias());
  auto config = with_bias();
  config.model.moe.balance = {};
  TinyRun without(config);
  EXPECT_EQ(with.state.flat.gradients().numel(), without.state.flat.gradients().numel());
  EXPECT_EQ(with.state.flat.values().numel(), without.state.flat.values().numel() + 2 * 4);
  EXPECT_EQ(with.state.optimizer.state("exp_avg").numel(), with.state.flat.gradients().numel());
  EXPECT_EQ(with.state.flat.table().count(), without.state.flat.table().count());
  EXPECT_EQ(with.state.flat.table().count_active(), without.state.flat.table().count_active());
}

TEST(SideTerms, OfLossesThatNoLayerHasAreNotANumber) {
  auto config = tiny_run();
  config.model.moe.z_loss = 0.1;
  TinyRun run(config);
  const auto terms = train_step(run.state).side_terms;
  EXPECT_GT(terms[kZLoss], 0);
  for (const auto term : {kSwitchBatch, kSwitchSequence, kImportanceLoss, kLoadLoss})
    EXPECT_TRUE(std::isnan(terms[term])) << term;
}

TEST(SideTerms, AreNotInTheLossThatIsReported) {
  auto config = tiny_run();
  TinyRun plain(config);
  config.model.moe.z_loss = 100;
  TinyRun heavy(config);
  const auto without = train_step(plain.state), with = train_step(heavy.state);
  EXPECT_EQ(with.loss, without.loss);
  EXPECT_NE(with.grad_norm, without.grad_norm);
}

}  // namespace
}  // namespace moe
