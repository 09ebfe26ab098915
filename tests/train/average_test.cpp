// Weights to train on, and those to evaluate with.

#include <gtest/gtest.h>

#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

TEST(EvaluatedWeights, AreABlendWhileTheyAreAskedForAndLeaveTrainingAsItWas) {
  auto config = tiny_run();
  config.optim.average = {0.2, 3, 0.5};  // from update 4 of 20 on
  TinyRun run(config), plain(tiny_run());
  for (int update = 1; update <= 8; ++update) {
    train_step(run.state);
    train_step(plain.state);
    const auto trained = run.state.flat.values().clone();
    auto blended = trained.clone();
    run.state.optimizer.blend(blended);
    {
      EvaluatedWeights evaluated(run.state);
      EXPECT_TRUE(same_bits(run.state.flat.values(), blended)) << update;
      evaluated.put_back_during(
          [&] { EXPECT_TRUE(same_bits(run.state.flat.values(), trained)) << update; });
      EXPECT_TRUE(same_bits(run.state.flat.values(), blended)) << update;
    }
    EXPECT_EQ(same_bits(blended, trained), update <= 4) << "the first is its own average";
    EXPECT_TRUE(same_bits(run.state.flat.values(), plain.state.flat.values())) << update;
  }
  EXPECT_EQ(run.state.optimizer.averaged_steps, 5);
}

}  // namespace
}  // namespace moe
