#include "moe/sweep/pruner.h"

#include <gtest/gtest.h>

namespace moe::sweep {
namespace {

/// A study of trials that reported these values at steps first, first + 10, ...; all but the last
/// complete.
Study study_of(const std::vector<std::vector<double>>& trials, std::size_t first = 10) {
  Study study("s");
  study.apply({{"op_code", 0}, {"study_name", "s"}, {"directions", {1}}});
  for (std::size_t i = 0; i < trials.size(); ++i) {
    study.apply({{"op_code", 4}, {"study_id", 0}});
    for (std::size_t at = 0; at < trials[i].size(); ++at)
      study.apply({{"op_code", 7},
                   {"trial_id", i},
                   {"step", first + 10 * at},
                   {"intermediate_value", trials[i][at]}});
    if (i + 1 < trials.size())
      study.apply({{"op_code", 6}, {"trial_id", i}, {"state", 1}, {"values", {1.0}}});
  }
  return study;
}

bool pruned(const Definition& definition, const std::vector<std::vector<double>>& trials,
            std::size_t first = 10) {
  const auto study = study_of(trials, first);
  return should_prune(definition, study, study.trials().back());
}

struct Median : ::testing::Test {
  Definition definition;
  void SetUp() override {
    definition.settings.pruner.kind = PrunerKind::median;
    definition.settings.pruner.startup_trials = 3;
  }
};

TEST_F(Median, StopsWhatIsWorseThanTheMedianOfRunningMeans) {
  // Running means up to step 20: 2, 3, 4; the median is 3.
  const std::vector<std::vector<double>> others{{3, 1, 0}, {4, 2, 0}, {5, 3, 0}};
  auto trials = others;
  trials.push_back({9, 3.1});
  EXPECT_TRUE(pruned(definition, trials));
  trials.back() = {2.9, 9};  // its best counts
  EXPECT_FALSE(pruned(definition, trials));
  trials.back() = {9, 3};  // as good as the median
  EXPECT_FALSE(pruned(definition, trials));
}

TEST_F(Median, WaitsForEnoughTrialsAndForTheWarmUp) {
  EXPECT_FALSE(pruned(definition, {{1}, {1}, {9}}));
  EXPECT_TRUE(pruned(definition, {{1}, {1}, {1}, {9}}));
  definition.settings.pruner.warmup_steps = 20;
  EXPECT_FALSE(pruned(definition, {{1}, {1}, {1}, {9}}));
  EXPECT_TRUE(pruned(definition, {{1, 1}, {1, 1}, {1, 1}, {9, 9}}));
}

TEST_F(Median, TurnsRoundWhenMoreIsBetter) {
  definition.settings.objective.direction = Direction::maximize;
  EXPECT_FALSE(pruned(definition, {{1}, {1}, {1}, {9}}));
  EXPECT_TRUE(pruned(definition, {{9}, {9}, {9}, {1}}));
}

TEST_F(Median, SaysNothingBeforeAReport) { EXPECT_FALSE(pruned(definition, {{1}, {1}, {1}, {}})); }

TEST_F(Median, NeverJudgesTheLossBeforeTraining) {
  EXPECT_FALSE(pruned(definition, {{1}, {1}, {1}, {9}}, 0));
  EXPECT_FALSE(pruned(definition, {{1, 1}, {1, 1}, {1, 1}, {9, 1}}, 0));
  EXPECT_TRUE(pruned(definition, {{9, 1}, {9, 1}, {9, 1}, {9, 2}}, 0))
      << "means are of 1, not of 5";
  EXPECT_TRUE(pruned(definition, {{1, 1}, {1, 1}, {1, 1}, {0, 2}}, 0)) << "0 is not its best";
}

struct Asha : ::testing::Test {
  Definition definition;
  void SetUp() override {
    definition.base.train.max_iters = 90;
    definition.settings.pruner.kind = PrunerKind::asha;
    definition.settings.pruner.min_steps = 10;
    definition.settings.pruner.reduction_factor = 3;
  }
};

TEST_F(Asha, KeepsTheBestThirdOfThoseAtARung) {
  EXPECT_FALSE(pruned(definition, {{1}}));  // the first to arrive goes on
  EXPECT_TRUE(pruned(definition, {{1}, {2}}));
  EXPECT_FALSE(pruned(definition, {{1}, {0.5}}));
  EXPECT_TRUE(pruned(definition, {{1}, {2}, {3}, {4}, {5}, {2.5}}));
  EXPECT_FALSE(pruned(definition, {{1}, {2}, {3}, {4}, {5}, {1.5}}));  // second of six
}

TEST_F(Asha, LooksAtRungsOnlyAndNeverAtTheEnd) {
  // Rungs at 10 and 30; at 20 nothing is decided anew.
  EXPECT_FALSE(pruned(definition, {{1, 1, 1}, {0.5, 9}}));
  EXPECT_TRUE(pruned(definition, {{1, 1, 1}, {0.5, 9, 9}}));
  definition.settings.pruner.min_steps = 90;
  EXPECT_FALSE(pruned(definition, {{0, 0, 0, 0, 0, 0, 0, 0, 0}, {1, 1, 1, 1, 1, 1, 1, 1, 1}}));
}

TEST_F(Asha, NeverJudgesTheLossBeforeTraining) {
  definition.settings.pruner.min_steps = 1;
  EXPECT_FALSE(pruned(definition, {{1}, {9}}, 0));
  EXPECT_TRUE(pruned(definition, {{9, 1}, {0, 2}}, 0));
}

TEST_F(Asha, CountsTrialsThatWereStoppedAtTheRung) {
  auto study = study_of({{3}, {2}, {1}});
  study.apply({{"op_code", 4}, {"study_id", 0}});
  study.apply({{"op_code", 7}, {"trial_id", 3}, {"step", 10}, {"intermediate_value", 0.5}});
  study.apply({{"op_code", 6}, {"trial_id", 3}, {"state", 2}, {"values", nullptr}});
  EXPECT_TRUE(should_prune(definition, study, study.trials()[2]));
}

TEST(Pruner, NoneStopsNothing) { EXPECT_FALSE(pruned({}, {{0}, {0}, {0}, {0}, {0}, {0}, {99}})); }

}  // namespace
}  // namespace moe::sweep
