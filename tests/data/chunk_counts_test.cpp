#include "moe/data/chunk_counts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/chunk_hash.h"
#include "moe/base/error.h"
#include "tests/base/scratch.h"
#include "tests/data/bpe_golden.h"

namespace moe {
namespace {

using test::message_of;
using testing::ElementsAre;
using testing::Pair;

std::map<std::string, std::int64_t> as_map(const ChunkCounts& counts) {
  std::map<std::string, std::int64_t> found;
  for (std::size_t i = 0; i < counts.size(); ++i)
    found[std::string(counts.chunk(i))] += counts.count(i);
  return found;
}

TEST(ChunkCounts, EachChunkIsThereOnceWithItsCount) {
  ChunkCounts counts;
  counts.add_text("a bc bc a", "text");
  counts.add_text("a", "text");
  counts.add_chunk("xyz", 7);
  EXPECT_EQ(counts.size(), 4U);
  EXPECT_THAT(as_map(counts),
              ElementsAre(Pair(" a", 1), Pair(" bc", 2), Pair("a", 2), Pair("xyz", 7)));
}

TEST(ChunkCounts, ChunksOfEveryLengthAreToldApart) {
  ChunkCounts counts;
  std::map<std::string, std::int64_t> expected;
  for (int round = 1; round <= 2; ++round)
    for (std::size_t length = 0; length < 40; ++length)
      for (std::size_t place = 0; place < length; ++place) {
        std::string chunk(length, 'x');
        chunk[place] = 'y';
        counts.add_chunk(chunk, round);
        expected[chunk] += round;
      }
  EXPECT_EQ(as_map(counts), expected);
  EXPECT_EQ(counts.size(), expected.size());
}

/// Eight bytes with the hash of seven, by undoing how chunk_hash mixes their number in.
TEST(ChunkCounts, ChunksOfOneHashAreToldApart) {
  constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15ULL;
  const std::string seven = "abcdefg";
  std::uint32_t front = 0, back = 0;
  std::memcpy(&front, seven.data(), sizeof front);
  std::memcpy(&back, seven.data() + 3, sizeof back);
  const auto word = (std::uint64_t{front} << 32U | back) ^ 7 * kFactor ^ 8 * kFactor;
  std::string eight(sizeof word, '\0');
  std::memcpy(eight.data(), &word, sizeof word);
  ASSERT_EQ(chunk_hash(seven), chunk_hash(eight));
  ChunkCounts counts;
  counts.add_chunk(seven, 1);
  counts.add_chunk(eight, 10);
  counts.add_chunk(seven, 100);
  EXPECT_THAT(as_map(counts), testing::UnorderedElementsAre(Pair(seven, 101), Pair(eight, 10)));
}

TEST(ChunkCounts, AnyNumberOfThreadsCountsTheSame) {
  std::string text;
  while (text.size() < (std::size_t{5} << 20U))  // several pieces
    for (const auto& row : test::bpe_golden().at("trained"))
      text += row.at("text").get<std::string>();
  ChunkCounts alone;
  alone.add_text(text, "text", 1);
  for (const int threads : {2, 3, 16}) {
    ChunkCounts together;
    together.add_text(text, "text", threads);
    EXPECT_EQ(as_map(together), as_map(alone)) << threads;
  }
}

TEST(ChunkCounts, NoChunkGoesAcrossTheBoundsOfDocuments) {
  const std::vector<std::string_view> texts{"a b", "", "b", " ", " b"};
  for (const int threads : {1, 2, 7}) {
    ChunkCounts counts;
    counts.add_texts(texts, "texts", threads);
    EXPECT_THAT(as_map(counts),
                ElementsAre(Pair(" ", 1), Pair(" b", 2), Pair("a", 1), Pair("b", 1)));
  }
}

TEST(ChunkCounts, OfSeveralInvalidDocumentsTheFirstIsNamedWhateverTheThreads) {
  std::vector<std::string> texts(200, "sound");
  for (std::size_t bad = 50; bad < texts.size(); ++bad) texts[bad] = std::string(bad, 'a') + "\xFF";
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  for (const int threads : {1, 4}) {
    ChunkCounts counts;
    EXPECT_THAT(message_of<DataError>([&] { counts.add_texts(views, "texts", threads); }),
                testing::StartsWith("texts: byte 50 is"));
    EXPECT_EQ(counts.size(), 0U);
  }
}

TEST(ChunkCounts, InvalidUtf8IsRefusedAndNothingCounted) {
  ChunkCounts counts;
  EXPECT_THAT(message_of<DataError>([&] { counts.add_text("ab \xC3(", "a.txt"); }),
              testing::StartsWith("a.txt: byte 3 is not valid UTF-8"));
  EXPECT_EQ(counts.size(), 0U);
}

}  // namespace
}  // namespace moe
