#include "moe/data/splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/data/utf8.h"
#include "tests/data/bpe_golden.h"

namespace moe {
namespace {

using testing::ElementsAre;

std::vector<std::string> chunks_of(std::string_view text) {
  std::vector<std::string> chunks;
  for (ChunkReader reader(text); !reader.at_end();) chunks.emplace_back(reader.next());
  return chunks;
}

TEST(SplitClass, EveryCodePointIsWhatHuggingFacesSplitterTakesItFor) {
  std::string letters;
  for (char32_t symbol = 0; symbol < 0x110000; ++symbol)
    letters += "OLNS"[static_cast<int>(split_class(symbol))];
  EXPECT_EQ(letters.size(), 0x110000U);
  EXPECT_EQ(sha256_hex(letters), test::bpe_golden().at("classes"));
}

TEST(SplitClass, WhatIsBeyondUnicodeIsOther) {
  for (const char32_t symbol :
       {U'\U0010FFFF', static_cast<char32_t>(0x110000), static_cast<char32_t>(-1)})
    EXPECT_EQ(split_class(symbol), SplitClass::other);
}

TEST(ChunkReader, TextsAreSplitAsHuggingFaceSplitsThem) {
  std::size_t texts = 0;
  for (const auto& row : test::bpe_golden().at("splits")) {
    const auto text = row.at(0).get<std::string>();
    std::vector<std::size_t> sizes;
    for (const auto& chunk : chunks_of(text)) sizes.push_back(chunk.size());
    EXPECT_EQ(sizes, row.at(1).get<std::vector<std::size_t>>()) << printable(text);
    ++texts;
  }
  EXPECT_GT(texts, 300U);
}

TEST(ChunkReader, SpacesJoinWhatFollowsAndContractionsStandAlone) {
  EXPECT_THAT(chunks_of("They'll see  12 caf\u00e9s!\n\n ok"),
              ElementsAre("They", "'ll", " see", " ", " 12", " caf\u00e9s", "!", "\n\n", " ok"));
  EXPECT_THAT(chunks_of(""), ElementsAre());
}

/// Texts in which everything that the splitter tells apart stands next to everything else.
std::string mixed_text(Generator& random, int symbols) {
  constexpr std::array<std::string_view, 18> kMixed{
      " ", " ",      "\n",     "\t",     "'",      "s",      "l",          "a",      "1",
      ".", "\u00e9", "\u0663", "\u00a0", "\u3000", "\u6f22", "\U0001F600", "\u0301", "re"};
  std::string text;
  for (int i = 0; i < symbols; ++i) text += kMixed[random.below(kMixed.size())];
  return text;
}

TEST(ChunkReader, TheChunksOfAnyTextAreTheText) {
  Generator random(3);
  for (int length = 0; length < 60; ++length) {
    const auto text = mixed_text(random, length);
    EXPECT_EQ(join(chunks_of(text), ""), text);
  }
}

TEST(CutIntoPieces, ThePiecesHaveTheChunksOfTheText) {
  Generator random(4);
  for (std::size_t bytes = 0; bytes < 40; ++bytes) {
    const auto text = mixed_text(random, 300);
    std::vector<std::string> apart;
    const auto pieces = cut_into_pieces(text, bytes);
    for (const auto piece : pieces)
      for (auto& chunk : chunks_of(piece)) apart.push_back(std::move(chunk));
    EXPECT_EQ(apart, chunks_of(text)) << bytes;
    EXPECT_GT(pieces.size(), 3U);
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i) EXPECT_GE(pieces[i].size(), bytes);
  }
}

TEST(FindCut, ATextWithoutACertainPlaceIsNotCut) {
  EXPECT_EQ(find_cut("aaaaaaaa", 2), 8U);
  EXPECT_EQ(find_cut("        ", 2), 8U);
  EXPECT_EQ(find_cut("!!!!'s's", 2), 6U);  // an apostrophe may take the letter, nothing takes both
  EXPECT_EQ(find_cut("\u6f22\u6f22 \u6f22", 1), 6U);  // from within a symbol
  EXPECT_EQ(find_cut("", 0), 0U);
  EXPECT_EQ(find_cut("ab", 7), 2U);
}

}  // namespace
}  // namespace moe
