// A loss or gradient that is not finite (docs/ROBUSTNESS.md): seen before the update.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

constexpr auto kNan = std::numeric_limits<float>::quiet_NaN();

/// What a step throws; nullopt when it goes through.
std::optional<Json> failure_of(TrainState& state) {
  try {
    train_step(state);
  } catch (const NonFinite& problem) {
    return problem.record;
  }
  return std::nullopt;
}

Json without_cursor(const Snapshot& snapshot) {
  auto json = snapshot.json;
  json.erase("data");
  return json;
}

class NonFiniteTest : public testing::TestWithParam<const char*> {
 protected:
  /// A run after three updates, with a NaN in one weight.
  NonFiniteTest() : run(config()) {
    for (int i = 0; i < 3; ++i) train_step(run.state);
    run.value(GetParam()).flatten()[0].fill_(kNan);
  }

  static RunConfig config() {
    auto config = tiny_run();
    config.train.grad_accumulation = 2;
    config.optim.grad_clip = 1.0;
    return config;
  }

  TinyRun run;
};

TEST_P(NonFiniteTest, StopsTheStepBeforeWeightsMomentsOrCountsChange) {
  const Snapshot before(run.state);
  ASSERT_TRUE(failure_of(run.state));
  const Snapshot after(run.state);
  EXPECT_TRUE(after.same_weights_and_moments(before));
  EXPECT_EQ(without_cursor(after), without_cursor(before));
}

TEST_P(NonFiniteTest, LeavesTheDataCursorWhereItWas) {
  const auto before = run.state.sampler.state();
  ASSERT_TRUE(failure_of(run.state));
  EXPECT_EQ(run.state.sampler.state(), before);
}

TEST_P(NonFiniteTest, RecordNamesTheStepTheBatchesAndTheNorms) {
  auto upcoming = run.state.sampler;
  const auto record = failure_of(run.state);
  ASSERT_TRUE(record);
  EXPECT_EQ(record->at("step"), 4);
  EXPECT_EQ(record->at("loss"), "NaN");
  Json offsets = Json::array();
  for (int micro = 0; micro < 2; ++micro) offsets.push_back(upcoming.next(4).offsets);
  EXPECT_EQ(record->at("batch_offsets"), offsets);
  const auto& norms = record->at("gradient_norms");
  ASSERT_EQ(norms.size(), run.state.flat.layout().size());
  for (const auto& tensor : run.state.flat.layout()) EXPECT_TRUE(norms.contains(tensor.name));
  EXPECT_NO_THROW(json_text(*record)) << "NaN and infinity are no JSON numbers";
}

INSTANTIATE_TEST_SUITE_P(Weights, NonFiniteTest,
                         testing::Values("position_embedding_table.weight",
                                         "blocks.0.sa.heads.1.query.weight", "blocks.1.ln2.weight",
                                         "lm_head.bias"),
                         [](const auto& test_info) {
                           std::string name = test_info.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

TEST(NonFiniteGradient, IsSeenWhereTheLossIsFinite) {
  TinyRun run(tiny_run());
  for (auto& token : run.tokens) token = 0;
  // Channel 0 gives symbol 0 a logit of -6 and all others +6; the gradient of that channel's bias
  // is then about 6e38, beyond float.
  run.value("ln_f.weight").zero_();
  run.value("ln_f.bias").zero_();
  run.value("ln_f.bias")[0].fill_(2e-38);
  run.value("lm_head.bias").zero_();
  run.value("lm_head.weight").zero_();
  run.value("lm_head.weight").select(1, 0).fill_(3e38);
  run.value("lm_head.weight")[0][0].fill_(-3e38);
  const Snapshot before(run.state);
  const auto record = failure_of(run.state);
  ASSERT_TRUE(record);
  ASSERT_TRUE(record->at("loss").is_number());
  EXPECT_NEAR(record->at("loss").get<double>(), 12 + std::log(kVocab - 1), 0.1);
  EXPECT_EQ(record->at("gradient_norms").at("ln_f.bias"), "Infinity");
  EXPECT_TRUE(Snapshot(run.state).same_weights_and_moments(before));
}

TEST(NonFiniteGradient, DoesNotStopASoundStep) {
  TinyRun run(tiny_run());
  EXPECT_FALSE(failure_of(run.state));
}

}  // namespace
}  // namespace moe
