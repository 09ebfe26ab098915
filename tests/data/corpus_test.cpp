#include "moe/data/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include "moe/base/sha256.h"
#include "moe/base/text.h"
#include "tests/base/scratch.h"
#include "tests/data/bpe_golden.h"
#include "tests/data/count_to.h"

namespace moe {
namespace {

using test::count_to;
using test::message_of;
using test::Scratch;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

Text text_of(const std::string& bytes) {
  const Scratch scratch;
  std::ofstream(scratch / "t.txt", std::ios::binary) << bytes;
  return read_text(scratch / "t.txt");
}

/// The message without the path before it.
std::string refusal_of(const std::string& bytes) {
  const auto message = message_of<DataError>([&] { text_of(bytes); });
  const auto at = message.find("t.txt: ");
  return at == std::string::npos ? message : message.substr(at + 7);
}

TEST(ReadText, PlainTextStaysAsItIsWithANoticeOfNulAlone) {
  const std::string bytes("a\n\n\tb \0\u00e9\u6f22\U0001F600", 16);
  const auto text = text_of(bytes);
  EXPECT_EQ(text.utf8, bytes);
  EXPECT_THAT(text.notices, ElementsAre(StartsWith("1 NUL bytes are learned")));
  EXPECT_THAT(text_of("abc").notices, IsEmpty());
  EXPECT_EQ(text_of("abc").sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(CleanText, OfNothingIsNothingAndAMistakeNamesItsSource) {
  EXPECT_EQ(clean_text("", "standard input").utf8, "");
  EXPECT_EQ(message_of<DataError>([] { clean_text("ab\xff", "standard input"); }),
            "standard input: byte 2 is not valid UTF-8; it looks like Latin-1: convert the text to "
            "UTF-8: iconv -f LATIN1 -t UTF-8 FILE > NEW.txt");
}

struct Mended {
  const char* name;
  const char* bytes;
  const char* utf8;
  bool has_mark, has_cr;
};
class MendedText : public testing::TestWithParam<Mended> {};

TEST_P(MendedText, ReadsAsInPythonsTextModeWithANoticeOfEachChange) {
  const auto& [name, bytes, utf8, has_mark, has_cr] = GetParam();
  const auto text = text_of(bytes);
  EXPECT_EQ(text.utf8, utf8);
  EXPECT_EQ(text.sha256, sha256_hex(bytes)) << "of the bytes on disk";
  EXPECT_EQ(text.text_sha256, sha256_hex(utf8)) << "of the text, whatever was mended";
  const auto notices = join(text.notices, "\n");
  EXPECT_EQ(text.notices.size(), static_cast<std::size_t>(has_mark) + (has_cr ? 1U : 0U));
  EXPECT_EQ(notices.find("byte-order mark") != std::string::npos, has_mark) << notices;
  EXPECT_EQ(notices.find("CR line ends") != std::string::npos, has_cr) << notices;
}

INSTANTIATE_TEST_SUITE_P(
    ReadText, MendedText,
    testing::Values(Mended{"mark",
                           "\xEF\xBB\xBF"
                           "a",
                           "a", true, false},
                    Mended{"second_mark_stays",
                           "\xEF\xBB\xBF\xEF\xBB\xBF"
                           "a",
                           "\uFEFFa", true, false},
                    Mended{"mark_inside_stays",
                           "a\uFEFF"
                           "b",
                           "a\uFEFF"
                           "b",
                           false, false},
                    Mended{"crlf", "a\r\nb\r\n", "a\nb\n", false, true},
                    Mended{"lone_cr", "a\rb\r", "a\nb\n", false, true},
                    Mended{"cr_before_crlf", "a\r\r\nb", "a\n\nb", false, true},
                    Mended{"lf_before_cr", "a\n\rb", "a\n\nb", false, true},
                    Mended{"only_cr", "\r", "\n", false, true},
                    Mended{"mixed", "\xEF\xBB\xBF\ra\nb\r\n\u00e9", "\na\nb\n\u00e9", true, true},
                    Mended{"other_line_ends_stay",
                           "a\u2028b\u0085"
                           "c\fd\ve",
                           "a\u2028b\u0085"
                           "c\fd\ve",
                           false, false}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(ReadText, AnEmptyTextIsRefused) {
  EXPECT_THAT(refusal_of(""), StartsWith("is empty; "));
  EXPECT_THAT(refusal_of("\xEF\xBB\xBF"), StartsWith("is empty; ")) << "nothing but a mark";
}

TEST(ReadText, InvalidUtf8IsRefusedWithItsByteInTheFile) {
  EXPECT_THAT(refusal_of("abc\xFFz"), StartsWith("byte 3 is not valid UTF-8; "));
  EXPECT_THAT(refusal_of("\xEF\xBB\xBF"
                         "a\r\n\xC3"),
              StartsWith("byte 6 is not"))
      << "before mending";
  EXPECT_THAT(refusal_of(std::string(100'000, 'a') + "\xED\xA0\x80"), StartsWith("byte 100000 "));
}

std::string in_utf16(std::string_view ascii, bool big_endian) {
  std::string out;
  for (const char c : ascii) out += big_endian ? std::string{'\0', c} : std::string{c, '\0'};
  return out;
}

TEST(ReadText, UnmarkedUtf16IsKnownByItsZerosAndAFewNulBytesAreNot) {
  const std::string text = "To be, or not to be: that is the question.\n";
  EXPECT_THAT(refusal_of(in_utf16(text, false)), StartsWith("looks like UTF-16LE, "));
  EXPECT_THAT(refusal_of(in_utf16(text, true)), StartsWith("looks like UTF-16BE, "));
  EXPECT_THAT(refusal_of(text + std::string(text.size() / 2, '\0')), IsEmpty());
  EXPECT_THAT(refusal_of(std::string(100, '\0')), IsEmpty()) << "all alike, and no UTF-32 either";
  EXPECT_THAT(refusal_of(std::string("a\0", 2)), IsEmpty()) << "too little to tell";
}

struct Guess {
  const char* name;
  const char* bytes;
  const char* says;
};
class GuessedEncoding : public testing::TestWithParam<Guess> {};

TEST_P(GuessedEncoding, IsNamedOnlyWhereTheBytesFit) {
  EXPECT_THAT(refusal_of(GetParam().bytes), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    ReadText, GuessedEncoding,
    testing::Values(Guess{"latin_1", "d\xE9j\xE0 vu\n", "; it looks like Latin-1: "},
                    Guess{"latin_1_at_the_end", "caf\xE9", "; it looks like Latin-1: "},
                    Guess{"windows_1252", "\x93quoted\x94", "; it looks like Windows-1252: "},
                    Guess{"undefined_in_both", "a letter \x81 of none", "; convert the text to"},
                    Guess{"mostly_utf8", "Gr\u00f6\u00dfe, \u00c4pfel \xFF", "; convert the text"},
                    Guess{"control_bytes", "\x7F\x01\x02 ELF \xE9", "; convert the text to"},
                    Guess{"dense", "\xE9\xE8\xE7\xE6", "; convert the text to"},
                    Guess{"cut_symbol", "abc\xE2\x98", ": the text ends in the middle of a"},
                    Guess{"cut_after_others", "\u00e9 abc\xE2", ": the text ends in the middle"}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(ReadText, AFileThatIsNotThereAndAFolderAreDataErrors) {
  const Scratch scratch;
  for (const auto& path : {scratch / "none.txt", scratch.path()}) {
    try {
      read_text(path);
      ADD_FAILURE() << path;
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 3);
      EXPECT_THAT(error.what(), StartsWith(path.string() + ": "));
    }
  }
}

struct Split {
  std::int64_t n;
  double fraction;
  std::size_t train;  // Python's int(fraction * n)
};
class SplitByPosition : public testing::TestWithParam<Split> {};

TEST_P(SplitByPosition, TrainIsTheFirstFloorOfFractionTimesN) {
  const auto& [n, fraction, train] = GetParam();
  const auto tokens = count_to(n);
  const auto corpus = split_by_position(tokens, fraction, 1, "text");
  EXPECT_EQ(corpus.train.size(), train);
  auto joined = corpus.train;
  joined.insert(joined.end(), corpus.val.begin(), corpus.val.end());
  EXPECT_TRUE(joined == tokens) << "nothing is lost, doubled or moved";
}

INSTANTIATE_TEST_SUITE_P(Corpus, SplitByPosition,
                         testing::Values(Split{1115394, 0.9, 1003854}, Split{100, 0.29, 28},
                                         Split{100, 0.58, 57}, Split{10, 0.7, 7}, Split{11, 0.5, 5},
                                         Split{4, 0.5, 2}, Split{2000, 0.999, 1998}),
                         [](const auto& given) {
                           return cat(given.param.n, "_symbols_", given.param.train,
                                      "_to_train_on");
                         });

TEST(Corpus, EachPartHoldsBlockSizePlusOneAtTheLeast) {
  EXPECT_EQ(split_by_position(count_to(18), 0.5, 8, "text").val.size(), 9U);
  EXPECT_THROW(split_by_position(count_to(17), 0.5, 8, "text"), DataError) << "8 to train on";
  EXPECT_THROW(split_by_position(count_to(18), 0.49, 8, "text"), DataError) << "8 to train on";
  EXPECT_THROW(split_by_position(count_to(18), 0.56, 8, "text"), DataError) << "8 to validate on";
  EXPECT_THROW(split_by_position({}, 0.5, 1, "text"), DataError);
}

TEST(Corpus, ATextTooShortIsRefusedWithLengthsAndTheMinimum) {
  EXPECT_THAT(message_of<DataError>([] { split_by_position(count_to(300), 0.9, 32, "text"); }),
              HasSubstr("300 symbols, 270 to train on and 30 to validate on; each part needs "
                        "model.block_size + 1 = 33"));
}

TEST(Corpus, TheLengthThatTheRefusalAsksForIsEnoughAndNotMuchMore) {
  for (const std::int64_t block_size : {1, 7, 32, 100}) {
    for (const double fraction : {0.001, 0.1, 0.3, 1.0 / 3, 0.5, 0.7, 0.9, 0.95, 0.999}) {
      const auto message = message_of<DataError>(
          [&] { split_by_position(count_to(2), fraction, block_size, "text"); });
      std::smatch number;
      ASSERT_TRUE(std::regex_search(message, number, std::regex("at least about ([0-9]+) sym")));
      const auto asked = std::stoll(number[1]);
      EXPECT_NO_THROW(split_by_position(count_to(asked), fraction, block_size, "text")) << message;
      const auto slack = static_cast<std::int64_t>(2 / std::min(fraction, 1 - fraction)) + 2;
      if (asked > slack) {
        EXPECT_THROW(split_by_position(count_to(asked - slack), fraction, block_size, "text"),
                     DataError)
            << message;
      }
    }
  }
}

// Failed when it was written: llround overflowed and a negative number of symbols was asked for.
TEST(Corpus, AFractionThatNoTextCanMeetAsksForNoNegativeLength) {
  for (const double fraction : {1e-19, 1e-300}) {
    const auto message =
        message_of<DataError>([&] { split_by_position(count_to(100), fraction, 8, "text"); });
    EXPECT_THAT(message, HasSubstr("model.block_size + 1 = 9"));
    EXPECT_EQ(message.find('-'), std::string::npos) << message;
  }
}

TEST(Documents, AreWhatStandsBetweenTheMarks) {
  EXPECT_THAT(documents_of("one<|endoftext|>two<|endoftext|><|endoftext|>"),
              ElementsAre("one", "two"));
  EXPECT_THAT(documents_of("<|endoftext|>a <|endoftext|"), ElementsAre("a <|endoftext|"));
  EXPECT_THAT(documents_of("all"), ElementsAre("all"));
  EXPECT_TRUE(documents_of("").empty());
}

TEST(TrainingEnd, LiesWhereAnyTextMayBeCut) {
  EXPECT_EQ(training_end("aaa bbb ccc", 0.2), 3U);
  EXPECT_EQ(training_end("aaa bbb ccc", 0.4), 7U) << "not within the word";
  EXPECT_EQ(training_end("aaaa", 0.5), 4U) << "no place is left";
}

TEST(TrainingEnd, NeverLiesWithinAMark) {
  const std::string text = "one word<|endoftext|>two words";
  const auto begin = text.find('<'), end = text.find('>') + 1;
  for (std::size_t byte = 0; byte <= text.size(); ++byte) {
    const auto fraction = static_cast<double>(byte) / static_cast<double>(text.size());
    const auto at = training_end(text, fraction);
    EXPECT_FALSE(at > begin && at < end) << "from byte " << byte << ": " << at;
  }
}

TEST(EncodeAndSplit, OfCharactersIsTheSplitOfTheTokens) {
  const Tokenizer tokenizer = CharTokenizer::from_text("ab\u00e9");
  const std::string text = "ab\u00e9ab\u00e9ab\u00e9a";
  const auto corpus = encode_and_split(text, tokenizer, {0.7, 2}, "text");
  const auto expected = split_by_position(tokenizer.encode(text, "text"), 0.7, 2, "text");
  EXPECT_EQ(corpus.train, expected.train);
  EXPECT_EQ(corpus.val, expected.val);
}

TEST(EncodeAndSplit, OfBytePairsIsTheWholeTextsTokensInTwoParts) {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text += i % 7 == 3 ? "lamp<|endoftext|>the lamp" : " the keeper's lamp";
  const Tokenizer tokenizer = BpeTokenizer(test::train("the lamp the keeper the lamp", 270));
  const auto whole = tokenizer.encode(text, "text", {.specials = SpecialText::token});
  for (const auto fraction : {0.2, 0.5, 0.77, 0.9}) {
    const auto corpus = encode_and_split(text, tokenizer, {fraction, 4}, "text");
    auto both = corpus.train;
    both.insert(both.end(), corpus.val.begin(), corpus.val.end());
    EXPECT_EQ(both, whole) << fraction;
    const auto end = training_end(text, fraction);
    EXPECT_EQ(tokenizer.decode(corpus.train), text.substr(0, end)) << fraction;
  }
}

TEST(EncodeAndSplit, APartThatIsTooShortIsRefusedInTokens) {
  const Tokenizer tokenizer = BpeTokenizer(test::train("the lamp the lamp", 270));
  EXPECT_THAT(message_of<DataError>([&] {
                encode_and_split("the lamp the lamp the", tokenizer, {0.5, 8}, "text");
              }),
              HasSubstr("block_size + 1 = 9"));
}

}  // namespace
}  // namespace moe
