#include "report/importance.h"

#include <gtest/gtest.h>

namespace moe::report {
namespace {

TEST(Importance, AParameterThatDecidesIsNearOneAndOneThatDoesNotNearZero) {
  std::vector<ParameterOutcome> decides, does_not;
  for (int i = 0; i < 40; ++i) {
    decides.push_back({static_cast<double>(i), static_cast<double>(i * i)});
    does_not.push_back({static_cast<double>(i % 4), static_cast<double>(i / 4)});
  }
  EXPECT_GT(importance_of(decides, /*is_choice=*/false).value(), 0.9);
  EXPECT_EQ(importance_of(does_not, /*is_choice=*/true).value(), 0);
}

TEST(Importance, ChoicesAreGroupsWhateverTheirOrder) {
  std::vector<ParameterOutcome> trials;
  for (int i = 0; i < 30; ++i)  // the middle one is best
    trials.push_back({static_cast<double>(i % 3), i % 3 == 1 ? 0.0 + i * 0.001 : 5.0 + i * 0.001});
  EXPECT_GT(importance_of(trials, /*is_choice=*/true).value(), 0.5);
}

TEST(Importance, OneTrialThatDivergedDoesNotOwnTheVariance) {
  std::vector<ParameterOutcome> trials;
  for (int i = 0; i < 40; ++i) trials.push_back({static_cast<double>(i), static_cast<double>(i)});
  trials[7].objective = 1e12;
  EXPECT_GT(importance_of(trials, /*is_choice=*/false).value(), 0.7);
}

TEST(Importance, ManyChoicesDoNotLookImportantByChance) {
  std::vector<ParameterOutcome> trials;  // three of each of eight: unadjusted it would be 0.29
  for (int i = 0; i < 24; ++i)
    trials.push_back({static_cast<double>(i % 8), (i * i * 17 + 3 * i) % 31 + i * 0.01});
  EXPECT_LT(importance_of(trials, /*is_choice=*/true).value(), 0.1);
}

TEST(Importance, TooFewTrialsAndOneValueGiveNone) {
  EXPECT_FALSE(importance_of({}, true));
  EXPECT_FALSE(importance_of({{0, 1}, {1, 2}, {2, 3}}, false));
  EXPECT_FALSE(importance_of({{0, 1}, {0, 2}, {0, 3}, {0, 4}, {0, 5}, {0, 6}}, true));
}

}  // namespace
}  // namespace moe::report
