#include "moe/data/utf8_stream.h"

#include <gtest/gtest.h>

#include <string>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe {
namespace {

std::string whole(std::string_view bytes) {
  Utf8Stream stream;
  auto text = stream.push(bytes);
  return text + stream.finish();
}

TEST(Utf8Stream, ACharacterComesOnceItsLastByteIsThere) {
  Utf8Stream stream;
  const std::string bytes = "a\u00e9\u6f22\U0001F600";
  std::string pushes;
  for (const char byte : bytes) pushes += cat(stream.push(std::string(1, byte)), "|");
  EXPECT_EQ(pushes, "a||\u00e9|||\u6f22||||\U0001F600|");
  EXPECT_EQ(stream.finish(), "");
}

TEST(Utf8Stream, AnUnfinishedCharacterIsOneReplacementAtTheEnd) {
  Utf8Stream stream;
  EXPECT_EQ(stream.push("x\xF0\x9F\x98"), "x");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.push("y"), "y");
}

// Unicode 15, table 3-8 and its neighbours: the longest beginning of a character is one
// replacement.
TEST(Utf8Stream, EachLongestBeginningOfACharacterIsOneReplacement) {
  EXPECT_EQ(whole("a\xF1\x80\x80\xE1\x80\xC2"
                  "b\x80"
                  "c\x80\xBF"
                  "d"),
            "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
  EXPECT_EQ(whole("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                  "A"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
  EXPECT_EQ(whole("\xED\xA0\x80\xF4\x91\x92\x93\xFF"
                  "A"),
            "\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFD\uFFFDA");
}

TEST(Utf8Stream, HoweverBytesAreCutTheTextIsTheSameAndValid) {
  Generator random(8);
  constexpr std::string_view kBytes = "a\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x98\x80\xFF\xED\xA0\xF4\x8F";
  for (int round = 0; round < 300; ++round) {
    std::string bytes, cut;
    for (int i = 0; i < 30; ++i) bytes += kBytes[random.below(kBytes.size())];
    Utf8Stream stream;
    for (std::size_t at = 0; at < bytes.size();) {
      const auto size = random.below(4);
      cut += stream.push(std::string_view(bytes).substr(at, size));
      EXPECT_FALSE(find_invalid_utf8(cut));
      at += size;
    }
    cut += stream.finish();
    EXPECT_EQ(cut, whole(bytes));
    EXPECT_FALSE(find_invalid_utf8(cut));
  }
}

}  // namespace
}  // namespace moe
