// The promise of docs/ROBUSTNESS.md: runs repeat, and a resume at any step equals no interruption.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <deque>
#include <string>
#include <tuple>
#include <vector>

#include "moe/eval/evaluator.h"
#include "tests/support/threads.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

template <class Enum>
std::string name_of(Enum value) {
  return std::string(EnumNames<Enum>::names[static_cast<std::size_t>(value)]);
}

RunConfig adamw_run() {
  auto config = tiny_run();
  config.optim.schedule = {ScheduleKind::cosine, 3, 1e-4};
  return config;
}

class ResumeTest : public testing::TestWithParam<std::tuple<DataOrder, Kernels, OptimizerKind>> {
 protected:
  static RunConfig config() {
    const auto [order, kernels, optimizer] = GetParam();
    auto config = optimizer == OptimizerKind::muon ? tiny_muon_run() : adamw_run();
    config.data.order = order;
    config.model.kernels = kernels;
    config.train.batch_size = 3;  // an update in the middle of an epoch of 11 or 12 windows
    return config;
  }
};

TEST_P(ResumeTest, TwentyUpdatesTwiceAreBitIdentical) {
  TinyRun a(config()), b(config());
  for (int i = 0; i < 20; ++i) {
    const auto first = train_step(a.state), second = train_step(b.state);
    EXPECT_EQ(first.loss, second.loss) << i;
    EXPECT_EQ(first.grad_norm, second.grad_norm) << i;
  }
  EXPECT_TRUE(Snapshot(a.state) == Snapshot(b.state));
}

TEST_P(ResumeTest, AFreshStateGoesOnFromAnyStepAsIfNeverStopped) {
  constexpr std::int64_t kUpdates = 9;
  TinyRun whole(config());
  std::deque<Snapshot> saved{Snapshot(whole.state)};
  std::vector<double> losses;
  for (std::int64_t i = 0; i < kUpdates; ++i) {
    losses.push_back(train_step(whole.state).loss);
    saved.emplace_back(whole.state);
  }
  for (std::int64_t k = 0; k <= kUpdates; ++k) {
    SCOPED_TRACE("saved at step " + std::to_string(k));
    TinyRun resumed(config());
    resumed.state.flat.values().fill_(0.5);  // nothing may be left of what was there
    saved[static_cast<std::size_t>(k)].restore(resumed.state);
    EXPECT_TRUE(Snapshot(resumed.state) == saved[static_cast<std::size_t>(k)]);
    for (auto i = k; i < kUpdates; ++i)
      EXPECT_EQ(train_step(resumed.state).loss, losses[static_cast<std::size_t>(i)]) << i;
    EXPECT_TRUE(Snapshot(resumed.state) == saved.back());
  }
}

TEST_P(ResumeTest, AUsedStateGoesBackToAnyStep) {
  constexpr std::int64_t kUpdates = 9;
  for (const std::int64_t k : {0, 2, 6}) {
    SCOPED_TRACE("back to step " + std::to_string(k));
    TinyRun run(config());
    for (std::int64_t i = 0; i < k; ++i) train_step(run.state);
    const Snapshot saved(run.state);
    for (auto i = k; i < kUpdates; ++i) train_step(run.state);
    const Snapshot end(run.state);
    saved.restore(run.state);
    EXPECT_TRUE(Snapshot(run.state) == saved);
    for (auto i = k; i < kUpdates; ++i) train_step(run.state);
    EXPECT_TRUE(Snapshot(run.state) == end);
  }
}

TEST_P(ResumeTest, EvaluationInBetweenNeverChangesTraining) {
  auto noisy = config();
  noisy.model.moe.noise_in_eval = true;
  TinyRun plain(noisy), evaluated(noisy);
  for (std::uint64_t i = 0; i < 6; ++i) {
    evaluate_full(evaluated.state.model, evaluated.tokens, i);
    EXPECT_EQ(train_step(plain.state).loss, train_step(evaluated.state).loss) << i;
    evaluate_random(evaluated.state.model, evaluated.tokens, i, 2, 3);
    at::rand({5});  // nor does torch's own generator
  }
  EXPECT_TRUE(Snapshot(plain.state) == Snapshot(evaluated.state));
}

TEST_P(ResumeTest, AnotherSeedTrainsOtherwise) {
  auto other = config();
  other.seed += 1;
  TinyRun a(config()), b(other);
  b.state.flat.values().copy_(a.state.flat.values());
  train_step(a.state);
  train_step(b.state);
  EXPECT_FALSE(same_bits(a.state.flat.values(), b.state.flat.values()));
}

std::string name_of_case(const testing::TestParamInfo<ResumeTest::ParamType>& test_info) {
  const auto& [order, kernels, optimizer] = test_info.param;
  return name_of(order) + "_" + name_of(kernels) + "_" + name_of(optimizer);
}
INSTANTIATE_TEST_SUITE_P(
    Orders, ResumeTest,
    testing::Combine(testing::Values(DataOrder::random, DataOrder::epoch, DataOrder::sequential),
                     testing::Values(Kernels::fast, Kernels::reference),
                     testing::Values(OptimizerKind::adamw, OptimizerKind::muon)),
    name_of_case);

TEST(MuonRun, IsTheSameForAnyNumberOfThreadsAlsoIfTheyChange) {
  if (!test_device().is_cpu()) GTEST_SKIP() << "threads are the CPU's";
  const auto end = [](const std::vector<int>& threads) {
    TinyRun run(tiny_muon_run());
    for (const auto count : threads) {
      const ThreadCount scope(count);
      for (int i = 0; i < 3; ++i) train_step(run.state);
    }
    return run.state.flat.values().clone();
  };
  const auto one = end({1, 1, 1});
  EXPECT_TRUE(same_bits(end({2, 2, 2}), one));
  EXPECT_TRUE(same_bits(end({1, 3, 2}), one));
}

}  // namespace
}  // namespace moe
