// Training with products in bfloat16: near the float run, repeatable, and float elsewhere.

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "moe/base/error.h"
#include "moe/config/load.h"
#include "moe/eval/evaluator.h"
#include "moe/train/trainer.h"
#include "tests/support/bfloat16.h"
#include "tests/train/tiny_run.h"

namespace moe {
namespace {

using namespace test;

RunConfig config_in(Precision precision) {
  auto config = tiny_run();
  config.device = "cpu";
  config.train.precision = precision;
  return config;
}

class PrecisionTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!test_device().is_cpu()) GTEST_SKIP() << "bfloat16 is for CPUs so far";
  }
};

TEST_F(PrecisionTest, TwentyLossesInBfloat16LieNearThoseInFloat) {
  // Ten times the largest difference that was measured; a token near a tie may take another expert.
  constexpr double kNear = 5e-3;
  TinyRun rounded(config_in(Precision::bfloat16)), plain(config_in(Precision::float32));
  for (int i = 0; i < 20; ++i) {
    const auto got = train_step(rounded.state).loss, want = train_step(plain.state).loss;
    EXPECT_NEAR(got, want, kNear) << i;
    EXPECT_NE(got, want) << i;
  }
}

TEST_F(PrecisionTest, TheNumberOfThreadsChangesNoBit) {
  const auto before = at::get_num_threads();
  std::vector<Snapshot> ends;
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    TinyRun run(config_in(Precision::bfloat16));
    for (int i = 0; i < 5; ++i) train_step(run.state);
    ends.emplace_back(run.state);
  }
  at::set_num_threads(before);
  EXPECT_TRUE(ends[0].same_weights_and_moments(ends[1]));
}

TEST_F(PrecisionTest, EvaluationStaysInFloat) {
  TinyRun rounded(config_in(Precision::bfloat16)), plain(config_in(Precision::float32));
  const auto loss = [](TinyRun& run) { return evaluate_full(run.state.model, run.tokens, 1).loss; };
  EXPECT_EQ(loss(rounded), loss(plain));
}

TEST_F(PrecisionTest, TheReferenceKernelsRefuseIt) {
  auto config = config_in(Precision::bfloat16);
  EXPECT_NO_THROW(check_precision(config));
  config.model.kernels = Kernels::reference;
  EXPECT_THROW(check_precision(config), ConfigError);
  config.train.precision = Precision::float32;
  EXPECT_NO_THROW(check_precision(config));
}

TEST_F(PrecisionTest, AResumedRunMayNotChangeIt) {
  const auto differences =
      resume_differences(config_in(Precision::float32), config_in(Precision::bfloat16));
  EXPECT_EQ(differences,
            std::vector<std::string>{"train.precision: \"float32\" in the run, \"bfloat16\" now"});
}

}  // namespace
}  // namespace moe
