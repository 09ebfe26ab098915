#include "src/sample/continuation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace moe {
namespace {

using testing::ElementsAre;

const std::vector<std::string> kStops{"END", "\n\n"};

TEST(Continuation, HoldsBackWhatMayBeginAStopTextUntilItCannot) {
  Continuation text(kStops);
  EXPECT_FALSE(text.append(0, "a"));
  EXPECT_EQ(text.take(false), "a");
  EXPECT_FALSE(text.append(1, "E"));
  EXPECT_FALSE(text.append(2, "N"));
  EXPECT_EQ(text.take(false), "");
  EXPECT_FALSE(text.append(1, "E"));  // "EN" is free now, the second "E" is not
  EXPECT_EQ(text.take(false), "EN");
  EXPECT_EQ(text.take(true), "E");
  EXPECT_EQ(text.take(true), "");
}

TEST(Continuation, CutsTheStopTextAndItsTokens) {
  Continuation text(kStops);
  text.append(7, "x");
  text.append(1, "E");
  text.append(2, "N");
  EXPECT_TRUE(text.append(3, "D"));
  EXPECT_EQ(text.text(), "x");
  EXPECT_THAT(text.tokens(), ElementsAre(7));
  EXPECT_EQ(text.take(true), "x");
}

TEST(Continuation, OfTwoStopTextsThatEndTogetherTheLongerOneCounts) {
  const std::vector<std::string> stops{"c", "bc"};
  Continuation text(stops);
  text.append(0, "a");
  text.append(1, "b");
  EXPECT_TRUE(text.append(2, "c"));
  EXPECT_EQ(text.text(), "a");
}

TEST(Continuation, AStopTextAtTheVeryBeginningLeavesNothing) {
  Continuation text(kStops);
  text.append(0, "\n");
  EXPECT_TRUE(text.append(0, "\n"));
  EXPECT_EQ(text.text(), "");
  EXPECT_TRUE(text.tokens().empty());
}

TEST(Continuation, AStopTextThatIsNotWholeCharactersNeverSplitsOne) {
  const std::vector<std::string> stops{"\xA9"};  // the second byte of e-acute
  Continuation text(stops);
  text.append(0, "a");
  EXPECT_TRUE(text.append(1, "\u00e9"));
  EXPECT_EQ(text.text(), "a");
}

TEST(Continuation, AStopTextWithinATokenLeavesWhatStandsBeforeIt) {
  Continuation text(kStops);
  text.append(0, "a ");
  EXPECT_TRUE(text.append(1, "b END c"));
  EXPECT_EQ(text.text(), "a b ");
  EXPECT_THAT(text.tokens(), ElementsAre(0));
  EXPECT_EQ(text.take(true), "a b ");
}

TEST(Continuation, TokensThatBeganACharacterGoWithIt) {
  const std::vector<std::string> stops{"\u00e9"};
  Continuation text(stops);
  text.append(0, "a");
  text.append(1, "");  // its first byte
  EXPECT_TRUE(text.append(2, "\u00e9"));
  EXPECT_EQ(text.text(), "a");
  EXPECT_THAT(text.tokens(), ElementsAre(0));
}

TEST(Continuation, HandsOutAPartOfATokenThatNoStopTextCanReach) {
  Continuation text(kStops);
  text.append(0, "one\u00e9 E");
  EXPECT_EQ(text.take(false), "one\u00e9 ");
  text.complete("\uFFFD");
  EXPECT_EQ(text.take(true), "E\uFFFD");
}

}  // namespace
}  // namespace moe
