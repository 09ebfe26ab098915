#include "moe/data/permutation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

namespace moe {
namespace {

std::vector<std::int64_t> all_of(std::int64_t count, std::uint64_t key) {
  const Permutation permutation(count, key);
  std::vector<std::int64_t> out;
  for (std::int64_t at = 0; at < count; ++at) out.push_back(permutation(at));
  return out;
}

TEST(Permutation, HasEachNumberOnce) {
  for (const std::int64_t count : {1, 2, 3, 4, 5, 15, 16, 17, 1000, 65'536, 65'537}) {
    auto order = all_of(count, 99);
    std::ranges::sort(order);
    for (std::int64_t i = 0; i < count; ++i)
      ASSERT_EQ(order[static_cast<std::size_t>(i)], i) << count;
  }
}

TEST(Permutation, EachKeyHasAnOrderOfItsOwn) {
  std::set<std::vector<std::int64_t>> orders;
  for (std::uint64_t key = 0; key < 200; ++key) orders.insert(all_of(40, key));
  EXPECT_EQ(orders.size(), 200U);
}

/// Of 24 orders of four, each comes about as often as any other.
TEST(Permutation, SmallOrdersAreAboutEquallyFrequent) {
  std::map<std::vector<std::int64_t>, int> seen;
  constexpr int kDraws = 24'000;
  for (int key = 0; key < kDraws; ++key) ++seen[all_of(4, static_cast<std::uint64_t>(key))];
  EXPECT_EQ(seen.size(), 24U);
  constexpr double kExpected = kDraws / 24.0;
  constexpr double kSpread = 0.2;  // six standard deviations of a count of 1000
  for (const auto& [order, count] : seen) EXPECT_NEAR(count, kExpected, kSpread * kExpected);
}

TEST(Permutation, NeighboursAreFarApart) {
  constexpr std::int64_t kCount = 1'000'000;
  const Permutation permutation(kCount, 3);
  double sum = 0;
  constexpr int kPairs = 20'000;
  for (int i = 0; i < kPairs; ++i)
    sum += std::abs(static_cast<double>(permutation(i) - permutation(i + 1)));
  // A third on the average; the mean of so many lies within 1 % of that.
  EXPECT_NEAR(sum / kPairs / kCount, 1.0 / 3, 0.01);
}

TEST(Permutation, ALargeOneIsWithinItsRange) {
  constexpr std::int64_t kCount = (std::int64_t{1} << 61U) + 12'345;
  const Permutation permutation(kCount, 8);
  for (std::int64_t at = 0; at < 1000; ++at) {
    EXPECT_GE(permutation(kCount - 1 - at), 0);
    EXPECT_LT(permutation(kCount - 1 - at), kCount);
  }
}

}  // namespace
}  // namespace moe
