// Updates that the host starts and does not wait for, against those that it waits for. On a GPU
// they are recorded; here the same operations run one by one.

#include "moe/train/device_updates.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/golden.h"
#include "tests/support/operations.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

/// Eight updates in float by kernels that round in other orders: each moves a weight by about the
/// rate, 3e-4 of its size, and rounds at 6e-8.
constexpr double kOtherOrder = 2e-4;

struct UpdateCase {
  std::string name;
  RunConfig config;
};

RunConfig with_balance(std::vector<BalanceConfig> balance, std::int64_t parts) {
  auto config = tiny_run();
  config.model.moe.balance = std::move(balance);
  config.train.grad_accumulation = parts;
  return config;
}

std::vector<UpdateCase> update_cases() {
  auto clipped = tiny_run();
  clipped.optim.grad_clip = 0.05;
  clipped.train.grad_accumulation = 3;
  auto capacity = tiny_run();
  capacity.model.moe.capacity_factor = 0.7;
  BalanceConfig whole;
  whole.kind = BalanceKind::switch_loss;
  whole.weight = 0.5;
  BalanceConfig loss_free;
  loss_free.kind = BalanceKind::loss_free;
  return {{"plain", tiny_run()},
          {"muon_and_averages", tiny_muon_run()},
          {"clipped_in_three_parts", clipped},
          {"capacity", capacity},
          {"balance_over_two_parts", with_balance({whole}, 2)},
          {"loss_free_balance", with_balance({loss_free}, 2)}};
}

class DeviceUpdatesTest : public testing::TestWithParam<UpdateCase> {
 protected:
  /// As on a GPU: the CPU's own engine is not what runs there.
  static void compute_stacked(TinyRun& run) { run.state.model->compute_by(EngineKind::stacked); }
};

TEST_P(DeviceUpdatesTest, EqualThoseThatAreWaitedFor) {
  TinyRun waits(GetParam().config), started(GetParam().config);
  compute_stacked(waits);
  compute_stacked(started);
  DeviceUpdates updates(started.state, /*records=*/true);
  for (int update = 1; update <= 8; ++update) {
    SCOPED_TRACE(update);
    const auto want = train_step(waits.state);
    updates.start();
    const auto got = updates.read();
    EXPECT_NEAR(got.loss, want.loss, kOtherOrder * want.loss);
    EXPECT_NEAR(got.grad_norm, want.grad_norm, kOtherOrder * want.grad_norm);
    EXPECT_EQ(got.learning_rate, want.learning_rate);
    EXPECT_EQ(got.tokens, want.tokens);
    EXPECT_EQ(got.dropped_fraction, want.dropped_fraction);
    EXPECT_EQ(got.dropped_by_layer.size(), want.dropped_by_layer.size());
    for (std::size_t term = 0; term < kSideTerms; ++term)
      if (!std::isnan(want.side_terms[term]))
        EXPECT_NEAR(got.side_terms[term], want.side_terms[term], kOtherOrder);
      else
        EXPECT_TRUE(std::isnan(got.side_terms[term]));
    EXPECT_LE(relative_error(started.state.flat.values(), waits.state.flat.values()), kOtherOrder);
  }
  const Snapshot a(started.state), b(waits.state);
  EXPECT_EQ(a.json, b.json);
  EXPECT_EQ(a.steps, b.steps);
  EXPECT_EQ(a.averaged_steps, b.averaged_steps);
  for (std::size_t i = 0; i < a.kept.size(); ++i)
    EXPECT_LE(relative_error(a.kept[i], b.kept[i]), kOtherOrder) << i;
}

TEST_P(DeviceUpdatesTest, ManyBeforeOneLookEqualOneByOne) {
  TinyRun one_by_one(GetParam().config), at_once(GetParam().config);
  compute_stacked(one_by_one);
  compute_stacked(at_once);
  DeviceUpdates seen(one_by_one.state, /*records=*/true), unseen(at_once.state, /*records=*/true);
  StepResult last;
  for (int update = 1; update <= 8; ++update) {
    seen.start();
    last = seen.read();
    unseen.start();
  }
  EXPECT_TRUE(unseen.is_ahead());
  const auto result = unseen.read();
  EXPECT_FALSE(unseen.is_ahead());
  EXPECT_EQ(result.loss, last.loss);
  EXPECT_EQ(result.tokens, 8 * last.tokens);
  EXPECT_TRUE(Snapshot(one_by_one.state) == Snapshot(at_once.state));
}

TEST_P(DeviceUpdatesTest, StartingOneWaitsForNothingAndDoesTheSameAgain) {
  TinyRun run(GetParam().config);
  compute_stacked(run);
  DeviceUpdates updates(run.state, /*records=*/true);
  const auto turns = GetParam().config.optim.muon.every;
  for (int update = 0; update < 8; ++update) updates.start();
  std::vector<std::vector<std::string>> operations;
  for (std::int64_t update = 0; update < 2 * turns; ++update) {
    const RecordedOperations recorded;
    updates.start();
    EXPECT_EQ(recorded.waiting(), std::vector<std::string>{});
    operations.push_back(recorded.all());
    EXPECT_FALSE(operations.back().empty());
  }
  for (std::int64_t phase = 0; phase < turns; ++phase)
    EXPECT_EQ(operations[static_cast<std::size_t>(phase)],
              operations[static_cast<std::size_t>(phase + turns)]);
}

TEST_P(DeviceUpdatesTest, WhatIsNotFiniteIsFoundLateAndHasChangedNothing) {
  TinyRun waits(GetParam().config), started(GetParam().config);
  for (auto* run : {&waits, &started}) compute_stacked(*run);
  DeviceUpdates updates(waits.state, true), behind(started.state, true);
  for (int update = 1; update <= 3; ++update) {
    updates.start();
    behind.start();
  }
  updates.read();
  for (auto* run : {&waits, &started})
    run->value("lm_head.weight").flatten()[0].fill_(std::numeric_limits<float>::quiet_NaN());
  const Snapshot before(waits.state);
  for (int update = 1; update <= 4; ++update) behind.start();
  const auto record_of = [](const auto& action) -> std::optional<Json> {
    try {
      action();
    } catch (const NonFinite& problem) {
      return problem.record;
    }
    return std::nullopt;
  };
  const auto want = record_of([&] { train_step(waits.state); });
  const auto got = record_of([&] { behind.read(); });
  ASSERT_TRUE(want && got);
  EXPECT_EQ(got->at("step"), 4);
  EXPECT_EQ(*got, *want) << "batches and norms of the update that went wrong";
  EXPECT_TRUE(Snapshot(started.state) == before);
}

INSTANTIATE_TEST_SUITE_P(Configs, DeviceUpdatesTest, testing::ValuesIn(update_cases()),
                         [](const auto& test_info) { return test_info.param.name; });

}  // namespace
}  // namespace moe
