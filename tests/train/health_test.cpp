// Looking at the routing never changes what is learned.

#include <gtest/gtest.h>

#include "moe/eval/evaluator.h"
#include "moe/eval/inspect.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

TEST(RoutingHealth, TakenAfterEveryUpdateChangesNoBitOfARun) {
  const auto config = tiny_run();
  TinyRun watched(config), alone(config);
  for (int i = 0; i < 20; ++i) {
    const auto loss = train_step(alone.state).loss;
    EXPECT_EQ(train_step(watched.state).loss, loss) << i;
    auto tallies = make_tallies(watched.state.model);
    evaluate_full(watched.state.model, watched.tokens, 3, 0, {}, &tallies);
    EXPECT_EQ(tallies.front().tokens, 99);
  }
  EXPECT_EQ(Snapshot(watched.state), Snapshot(alone.state));
}

}  // namespace
}  // namespace moe
