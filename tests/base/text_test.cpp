#include "moe/base/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace moe {
namespace {

TEST(Text, CatWritesEachPartAndNumbersThatReadBackExactly) {
  EXPECT_EQ(cat("a", 1, 'b', 2.5, true, std::string("c"), -3L, 4U), "a1b2.5truec-34");
  EXPECT_EQ(std::stod(cat(0.1 + 0.2)), 0.1 + 0.2);
  EXPECT_EQ(cat(std::numeric_limits<unsigned long long>::max()), "18446744073709551615");
}

TEST(Text, FixedRoundsToTheDecimalsAsked) {
  EXPECT_EQ(fixed(1.7439, 2), "1.74");
  EXPECT_EQ(fixed(-2, 0), "-2");
  EXPECT_EQ(fixed(1e300, 1).size(), 303U);
}

TEST(Text, GroupedSetsACommaBeforeEachThreeDigits) {
  EXPECT_EQ(grouped(1115394), "1,115,394");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(-1000), "-1,000");
  EXPECT_EQ(grouped(std::numeric_limits<long long>::min()), "-9,223,372,036,854,775,808");
}

TEST(Text, HumanBytesNeverPrintsAThousandOfAUnit) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(36e6), "36.0 MB");
  EXPECT_EQ(human_bytes(999.7), "1.0 kB");
  EXPECT_EQ(human_bytes(999999), "1.0 MB");
}

TEST(Text, HumanSecondsChangesItsUnitsWithTheSize) {
  EXPECT_EQ(human_seconds(12.34), "12.3 s");
  EXPECT_EQ(human_seconds(59.97), "1 min 00 s");
  EXPECT_EQ(human_seconds(245), "4 min 05 s");
  EXPECT_EQ(human_seconds(3599.7), "1 h 00 min");
  EXPECT_EQ(human_seconds(7380), "2 h 03 min");
  EXPECT_EQ(human_seconds(std::nan("")), "nan s");
  EXPECT_EQ(human_seconds(std::numeric_limits<double>::infinity()), "inf s");
}

TEST(Text, NearestFindsTyposAndLeavesTheRest) {
  const std::vector<std::string> keys{"n_embed", "n_head", "learning_rate"};
  EXPECT_EQ(nearest("n_embd", keys), "n_embed");
  EXPECT_EQ(nearest("learnig_rtae", keys), "learning_rate");
  EXPECT_EQ(nearest("temperature", keys), "");
  EXPECT_EQ(nearest(std::string(1'000'000, 'n'), keys), "");
}

TEST(Text, JoinPutsTheSeparatorBetweenOnly) {
  EXPECT_EQ(join(std::vector<std::string>{"a", "b", "c"}, ", "), "a, b, c");
  EXPECT_EQ(join(std::vector<std::string>{}, ", "), "");
}

TEST(Text, PrintableKeepsVisibleSymbolsAndEscapesTheRest) {
  EXPECT_EQ(printable("plain é 漢 😀"), "plain é 漢 😀");
  EXPECT_EQ(printable("a\n\"b\"\\"), "a\\n\\x22b\\x22\\x5c");
  EXPECT_EQ(printable("\x1b[31m"), "\\x1b[31m");
  EXPECT_EQ(printable("\u202Eevil"), "\\xe2\\x80\\xaeevil") << "turns the direction of writing";
}

TEST(Text, PrintableEscapesEachByteThatIsNotUtf8) {
  EXPECT_EQ(printable("\xff"), "\\xff");
  EXPECT_EQ(printable("\xc3"), "\\xc3") << "cut off";
  EXPECT_EQ(printable("\xc0\x80"), "\\xc0\\x80") << "overlong";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "beyond U+10FFFF";
}

TEST(Text, ControlCharactersAreShownAsAsked) {
  EXPECT_EQ(without_controls("a\033[2J\tb\n\r\x7f\u009b\u00e9"),
            "a\\x1b[2J\tb\n\\x0d\\x7f\\x9b\u00e9");
  EXPECT_EQ(without_controls("\u009b", "\\u00"), "\\u009b");
}

TEST(Text, PrintableCutsAtTheLengthAndNeverInsideASymbol) {
  EXPECT_EQ(printable("abcdef", 6), "abcdef");
  EXPECT_EQ(printable("abcdefg", 6), "abcdef...");
  EXPECT_EQ(printable("abcdeé", 6), "abcde...");
}

}  // namespace
}  // namespace moe
