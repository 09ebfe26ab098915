#include "moe/data/text_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/data/corpus.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

using test::message_of;
using test::Scratch;
using testing::HasSubstr;
using testing::StartsWith;

/// The text as it comes out of a cleaner that gets it in pieces of at most `longest` bytes.
Text cleaned(std::string_view bytes, std::uint64_t longest, Generator& generator) {
  TextCleaner cleaner("t");
  Text out;
  while (!bytes.empty()) {
    const auto size = std::min<std::size_t>(1 + generator.below(longest), bytes.size());
    cleaner.push(bytes.substr(0, size), out.utf8);
    bytes.remove_prefix(size);
  }
  cleaner.finish(out.utf8);
  out.sha256 = cleaner.sha256();
  out.text_sha256 = cleaner.text_sha256();
  out.notices = cleaner.notices();
  return out;
}

void expect_as_whole(const std::string& bytes, std::uint64_t longest, Generator& generator) {
  const auto refusal = message_of<DataError>([&] { clean_text(bytes, "t"); });
  EXPECT_EQ(message_of<DataError>([&] { cleaned(bytes, longest, generator); }), refusal);
  if (!refusal.empty()) return;
  const auto whole = clean_text(bytes, "t");
  const auto piecewise = cleaned(bytes, longest, generator);
  ASSERT_EQ(piecewise.utf8, whole.utf8);
  EXPECT_EQ(piecewise.sha256, whole.sha256);
  EXPECT_EQ(piecewise.text_sha256, whole.text_sha256);
  EXPECT_EQ(piecewise.notices, whole.notices);
}

/// Bytes in which all that is mended is frequent.
std::string messy(Generator& generator, std::size_t symbols) {
  const std::vector<std::string> parts{"\r",         "\n",           "\r\n",
                                       "a",          "\u00e9",       "\u6f22",
                                       "\U0001F600", "\xEF\xBB\xBF", std::string(1, '\0'),
                                       " "};
  std::string out;
  for (std::size_t i = 0; i < symbols; ++i) out += parts[generator.below(parts.size())];
  return out;
}

TEST(TextCleaner, MakesOfPiecesWhatIsMadeOfTheWhole) {
  Generator generator(1);
  for (int i = 0; i < 300; ++i) {
    const auto mark = i % 3 == 0 ? "\xEF\xBB\xBF" : "x";
    expect_as_whole(mark + messy(generator, generator.below(60)), 5, generator);
  }
}

// Longer than what is looked at before anything is believed.
TEST(TextCleaner, OfALongTextToo) {
  Generator generator(2);
  expect_as_whole("\xEF\xBB\xBFx" + messy(generator, 200'000), 7000, generator);
  expect_as_whole("", 1, generator);
}

TEST(TextCleaner, AMistakeHasTheByteOfTheWhole) {
  Generator generator(3);
  for (const std::size_t at : {0, 1, 1000, 70'000, 300'001}) {
    const auto bytes = std::string(at, 'a') + "\xff" + std::string(1000, 'b');
    const auto whole = message_of<DataError>([&] { clean_text(bytes, "t"); });
    EXPECT_THAT(whole, StartsWith(cat("t: byte ", at, " is not valid UTF-8")));
    EXPECT_EQ(message_of<DataError>([&] { cleaned(bytes, 4000, generator); }), whole);
  }
}

TEST(TextCleaner, ASymbolThatIsCutOffIsAMistakeAtTheEndAlone) {
  Generator generator(4);
  const auto bytes = std::string(100'000, 'a') + "\u6f22" + "\xE6\xBC";
  EXPECT_THAT(message_of<DataError>([&] { cleaned(bytes, 1000, generator); }),
              HasSubstr("byte 100003 is not valid UTF-8: the text ends in the middle"));
}

TEST(TextCleaner, FilesOfAnotherKindAreNamed) {
  Generator generator(5);
  const auto gzip = "\x1F\x8B" + std::string(100, 'x');
  auto wide = std::string();
  for (int i = 0; i < 60'000; ++i) wide += {'a', '\0'};
  for (const auto& bytes : {gzip, wide, "PK\x03\x04" + std::string(90'000, 'x')}) {
    const auto whole = message_of<DataError>([&] { clean_text(bytes, "t"); });
    ASSERT_NE(whole, "");
    EXPECT_EQ(message_of<DataError>([&] { cleaned(bytes, 900, generator); }), whole);
  }
}

TEST(TextReader, ReadsAFileBlockByBlock) {
  const Scratch scratch;
  const std::string bytes = "a\r\n" + std::string(5000, 'b') + "\u6f22\r";
  std::ofstream(scratch / "t.txt", std::ios::binary) << bytes;
  for (const std::size_t block : {1, 7, 100'000}) {
    TextReader reader(scratch / "t.txt", block);
    std::string text;
    while (reader.append(text)) continue;
    EXPECT_EQ(text, clean_text(bytes, "t").utf8);
    EXPECT_EQ(reader.bytes_read(), bytes.size());
    EXPECT_EQ(reader.cleaner().text_sha256(), clean_text(bytes, "t").text_sha256);
    EXPECT_FALSE(reader.append(text));
  }
}

TEST(TextReader, AnEmptyFileIsAnEmptyText) {
  const Scratch scratch;
  std::ofstream(scratch / "t.txt").flush();
  TextReader reader(scratch / "t.txt");
  std::string text;
  EXPECT_FALSE(reader.append(text));
  EXPECT_EQ(text, "");
  EXPECT_THAT(message_of<DataError>([&] { TextReader(scratch / "gone.txt"); }),
              HasSubstr("cannot be read"));
}

}  // namespace
}  // namespace moe
