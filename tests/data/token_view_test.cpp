#include "moe/data/token_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "moe/data/ngrams.h"
#include "moe/data/windows.h"
#include "tests/data/count_to.h"

namespace moe {
namespace {

using test::count_to;
using testing::ElementsAre;
using testing::IsEmpty;

/// The same ids in 16 bits.
std::vector<std::uint16_t> narrow(const Tokens& tokens) { return {tokens.begin(), tokens.end()}; }

TEST(TokenView, ShowsAVectorAndShortIdsAlike) {
  const Tokens wide{5, 70'000, 3};
  const std::array<std::uint16_t, 3> short_ids{5, 65'535, 3};
  EXPECT_THAT(TokenView(wide).copy(), ElementsAre(5, 70'000, 3));
  EXPECT_THAT(TokenView(std::span<const std::uint16_t>(short_ids)).copy(),
              ElementsAre(5, 65'535, 3));
  EXPECT_EQ(TokenView(std::span<const std::uint16_t>(short_ids))[1], 65'535);
  EXPECT_EQ(TokenView(wide).back(), 3);
  EXPECT_TRUE(TokenView().empty());
}

TEST(TokenView, APartIsAViewOfIt) {
  const auto wide = count_to(10);
  const auto ids = narrow(wide);
  for (const auto view : {TokenView(wide), TokenView(std::span(ids))}) {
    EXPECT_THAT(view.part(3, 2).copy(), ElementsAre(3, 4));
    EXPECT_THAT(view.part(10, 0).copy(), IsEmpty());
    EXPECT_EQ(view.part(2, 8).part(1, 3)[2], 5);
  }
}

TEST(TokenView, WindowsAndRunsAreTheSameOfEitherWidth) {
  Tokens wide;
  for (int i = 0; i < 500; ++i) wide.push_back(i * i % 7);
  const auto ids = narrow(wide);
  const TokenView view{std::span(ids)};
  WindowSampler of_wide(wide, 8, WindowOrder::epoch, 5), of_narrow(view, 8, WindowOrder::epoch, 5);
  for (int i = 0; i < 30; ++i) {
    const auto a = of_wide.next(5), b = of_narrow.next(5);
    ASSERT_EQ(a.inputs, b.inputs);
    ASSERT_EQ(a.targets, b.targets);
  }
  EXPECT_EQ(find_ngrams(view, 7, {2, 1, {}, 8}), find_ngrams(wide, 7, {2, 1, {}, 8}));
}

}  // namespace
}  // namespace moe
