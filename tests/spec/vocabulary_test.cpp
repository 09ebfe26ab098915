#include "moe/spec/vocabulary.h"

#include <gtest/gtest.h>

#include <array>

namespace moe {
namespace {

TEST(Runs, AreSortedAsTheirNumbers) {
  constexpr std::int64_t kSymbols = 3;
  std::int64_t last = -1;
  for (std::int32_t a = 0; a <= kSymbols; ++a)
    for (std::int32_t b = 0; b <= kSymbols; ++b) {
      const std::array<std::int32_t, 2> run{a, b};
      const auto number = run_number(run.data(), 2, kSymbols);
      EXPECT_EQ(number, last + 1);
      last = number;
    }
  EXPECT_EQ(count_runs(kSymbols, 2), last + 1);
}

TEST(Runs, AreCountedAsFarAs64BitsGo) {
  EXPECT_EQ(count_runs(65, 8), 360'040'606'269'696);
  EXPECT_EQ(count_runs(1'000'000, 4), std::nullopt);
}

}  // namespace
}  // namespace moe
