#include "moe/base/random.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>

namespace moe {
namespace {

// Known answers: kat_vectors of the authors' Random123.
TEST(Random, PhiloxGivesTheKnownAnswersOfItsAuthors) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, 0), (Philox4{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, ~std::uint64_t{0}),
            (Philox4{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822ULL),
            (Philox4{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Random, AGeneratorContinuesFromItsKeyAndPosition) {
  Generator whole(stream_key(7, "batches"));
  for (int i = 0; i < 5; ++i) whole.bits();
  Generator resumed(whole.key(), whole.position());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(whole.bits(), resumed.bits());
}

TEST(Random, StreamsOfAllSeedsNamesAndIndicesDiffer) {
  std::set<std::uint64_t> keys;
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    for (const auto* name : {"", "a", "b", "ab", "ba"})
      for (std::uint64_t index = 0; index < 20; ++index) keys.insert(stream_key(seed, name, index));
  EXPECT_EQ(keys.size(), 20U * 5U * 20U);
}

TEST(Random, UniformStaysBelowOneAndHasMeanOneHalf) {
  constexpr int kDraws = 100'000;
  constexpr double kTolerance = 0.005;  // five standard errors of the mean, sqrt(1/12/draws)
  Generator generator(stream_key(1, "test"));
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = generator.uniform();
    ASSERT_GE(value, 0);
    ASSERT_LT(value, 1);
    sum += value;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, kTolerance);
}

TEST(Random, BelowReachesEachValueTakesOneDrawAndRefusesZero) {
  Generator generator(3);
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 200; ++i) seen.insert(generator.below(6));
  EXPECT_EQ(seen, (std::set<std::uint64_t>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(generator.position(), 200U);
  EXPECT_THROW(generator.below(0), std::logic_error);
}

TEST(Random, NormalPairsAreFiniteAtTheEndsAndHaveUnitVariance) {
  EXPECT_TRUE(std::isfinite(normal_pair(0, 0)[0]));
  EXPECT_TRUE(std::isfinite(normal_pair(0xffffffff, 0xffffffff)[1]));
  constexpr int kPairs = 50'000;
  constexpr double kTolerance = 0.025;  // five standard errors of the variance, sqrt(2/draws)
  double squares = 0;
  for (std::uint32_t i = 0; i < kPairs; ++i) {
    const auto drawn = philox4x32({i, 0, 0, 0}, 5);
    const auto [a, b] = normal_pair(drawn[0], drawn[1]);
    squares += a * a + b * b;
  }
  EXPECT_NEAR(squares / (2 * kPairs), 1, kTolerance);
}

}  // namespace
}  // namespace moe
