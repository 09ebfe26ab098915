#include "moe/data/char_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/data/utf8.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

using test::message_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

/// `length` scalar values over all of Unicode, control characters and NUL among them.
std::string random_text(Generator& random, int length) {
  std::string text;
  for (int i = 0; i < length; ++i) {
    // Half of the draws lie where the length of a sequence changes.
    constexpr std::array<char32_t, 6> kEnds{0x80, 0x100, 0x800, 0xD800, 0x10000, 0x110000};
    const auto symbol = static_cast<char32_t>(random.below(kEnds[random.below(kEnds.size())]));
    append_utf8(text, symbol >= 0xD800 && symbol <= 0xDFFF ? U'\uFFFD' : symbol);
  }
  return text;
}

CharTokenizer read_back(const CharTokenizer& tokenizer) {
  return CharTokenizer::from_json(
      parse_json(json_text(tokenizer.to_json(), 2), "t", ErrorKind::data), "t", ErrorKind::data);
}

TEST(CharTokenizer, TheVocabularyIsTheSortedDistinctCodePoints) {
  const auto tokenizer = CharTokenizer::from_text("b\na\u6f22b\u00e9a\U0001F600");
  EXPECT_THAT(tokenizer.symbols(),
              ElementsAre(U'\n', U'a', U'b', U'\u00e9', U'\u6f22', U'\U0001F600'));
  EXPECT_EQ(tokenizer.vocab_size(), 6);
  EXPECT_THAT(tokenizer.encode("a\u6f22\n", "x"), ElementsAre(1, 4, 0));
  EXPECT_EQ(tokenizer.decode(std::vector<std::int32_t>{5, 1, 3}), "\U0001F600a\u00e9");
  EXPECT_EQ(tokenizer.symbol(4), "\u6f22");
}

TEST(CharTokenizer, OneSymbolAndNoneMakeAVocabularyToo) {
  EXPECT_THAT(CharTokenizer::from_text("aaaa").symbols(), ElementsAre(U'a'));
  EXPECT_THAT(CharTokenizer::from_text("aaaa").encode("aa", "x"), ElementsAre(0, 0));
  EXPECT_EQ(CharTokenizer::from_text("").vocab_size(), 0);
  EXPECT_THAT(CharTokenizer::from_text("a").encode("", "x"), IsEmpty());
}

TEST(CharTokenizer, RandomTextsSurviveEncodeDecodeAndTheirJson) {
  Generator random(11);
  for (int length = 1; length < 300; length += 7) {
    const auto text = random_text(random, length);
    const auto tokenizer = CharTokenizer::from_text(text);
    const auto ids = tokenizer.encode(text, "text");
    ASSERT_EQ(tokenizer.decode(ids), text);
    ASSERT_TRUE(std::all_of(ids.begin(), ids.end(),
                            [&](auto id) { return id >= 0 && id < tokenizer.vocab_size(); }));
    const auto again = read_back(tokenizer);
    ASSERT_EQ(again.symbols(), tokenizer.symbols());
    ASSERT_EQ(again.encode(text, "text"), ids);
  }
}

TEST(CharTokenizer, GenerationFromNothingStartsAtTheNewlineElseAtTheFirstSymbol) {
  EXPECT_EQ(CharTokenizer::from_text("\ta\n").start_id(), 1);
  EXPECT_EQ(CharTokenizer::from_text("\tab").start_id(), 0);
  EXPECT_EQ(CharTokenizer::from_text("\t").start_id(), 0);
}

TEST(CharTokenizer, InvalidUtf8IsRefusedWithItsByte) {
  const auto tokenizer = CharTokenizer::from_text("ab");
  EXPECT_THAT(message_of<DataError>([] { CharTokenizer::from_text("ab\xFF"); }),
              HasSubstr("byte 2 is not valid UTF-8; "));
  EXPECT_THAT(message_of<DataError>([&] { tokenizer.encode("a\xC3", "--prompt"); }),
              StartsWith("--prompt: byte 1 is not valid UTF-8; "));
}

struct Unknown {
  const char* name;
  const char* text;
  const char* says;
};
class UnknownSymbols : public testing::TestWithParam<Unknown> {};

TEST_P(UnknownSymbols, AreNamedWithTheirCodePoints) {
  const auto tokenizer = CharTokenizer::from_text("ab\n");
  const auto message =
      message_of<DataError>([&] { tokenizer.encode(GetParam().text, "--prompt"); });
  EXPECT_THAT(message,
              StartsWith(std::string("--prompt: ") + GetParam().says + " not in the vocabulary; "));
}

INSTANTIATE_TEST_SUITE_P(
    CharTokenizer, UnknownSymbols,
    testing::Values(Unknown{"ascii", "aZb", "'Z' (U+005A) is"},
                    Unknown{"control", "a\tb", "U+0009 is"}, Unknown{"del", "\x7F", "U+007F is"},
                    Unknown{"four_digits", "a\u00e9", "'\u00e9' (U+00E9) is"},
                    Unknown{"six_digits", "\U0010FFFD", "'\U0010FFFD' (U+10FFFD) is"},
                    Unknown{"each_once_sorted", "dcacbd", "'c' (U+0063), 'd' (U+0064) are"},
                    Unknown{"the_first_five", "zyxwvut",
                            "'t' (U+0074), 'u' (U+0075), 'v' (U+0076), 'w' (U+0077), 'x' (U+0078) "
                            "and others are"}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(CharTokenizer, UnknownSymbolsAreAnErrorOfTheKindThatTheCallerNames) {
  EXPECT_THROW(CharTokenizer::from_text("a").encode("ab", "x"), DataError);
  EXPECT_THROW(CharTokenizer::from_text("a").encode("ab", "x", ErrorKind::checkpoint),
               CheckpointError);
}

TEST(CharTokenizer, ItsJsonHasHuggingFacesLayout) {
  const auto json = CharTokenizer::from_text("b\na\"").to_json();
  EXPECT_EQ(json_text(json.at("model")),
            R"({"type":"BPE","vocab":{"\n":0,"\"":1,"a":2,"b":3},"merges":[]})");
  for (const auto* key : {"version", "truncation", "padding", "added_tokens", "normalizer",
                          "pre_tokenizer", "post_processor", "decoder"})
    EXPECT_TRUE(json.contains(key)) << key;
}

struct Hostile {
  const char* name;
  const char* text;
  const char* says;
};
class HostileTokenizer : public testing::TestWithParam<Hostile> {};

TEST_P(HostileTokenizer, IsRefusedWithTheKindOfItsReader) {
  const auto json = parse_json(GetParam().text, "t", ErrorKind::data);
  for (const auto kind : {ErrorKind::data, ErrorKind::checkpoint}) {
    try {
      CharTokenizer::from_json(json, "t.json", kind);
      ADD_FAILURE() << "it was taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      EXPECT_THAT(error.what(), StartsWith("t.json: "));
      EXPECT_THAT(error.what(), HasSubstr(GetParam().says));
      EXPECT_THAT(error.what(), HasSubstr("; use a tokenizer.json"));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    CharTokenizer, HostileTokenizer,
    testing::Values(
        Hostile{"null", "null", "no model.vocab"}, Hostile{"array", "[]", "no model.vocab"},
        Hostile{"number", "7", "no model.vocab"}, Hostile{"empty", "{}", "no model.vocab"},
        Hostile{"model_missing", R"({"vocab": {"a": 0}})", "no model.vocab"},
        Hostile{"model_number", R"({"model": 3})", "no model.vocab"},
        Hostile{"vocab_missing", R"({"model": {"type": "BPE"}})", "no model.vocab"},
        Hostile{"vocab_array", R"({"model": {"vocab": ["a"]}})", "no model.vocab"},
        Hostile{"vocab_null", R"({"model": {"vocab": null}})", "no model.vocab"},
        Hostile{"vocab_empty", R"({"model": {"vocab": {}}})", "no model.vocab"},
        Hostile{"merges", R"({"model": {"vocab": {"a": 0}, "merges": ["a a"]}})", "has merges"},
        Hostile{"merges_number", R"({"model": {"vocab": {"a": 0}, "merges": 1}})", "has merges"},
        Hostile{"two_symbols", R"({"model": {"vocab": {"a": 0, "bc": 1}}})", "\"bc\" is not one"},
        Hostile{"two_code_points", R"({"model": {"vocab": {"e\u0301": 0}}})", "is not one symbol"},
        Hostile{"no_symbol", R"({"model": {"vocab": {"": 0}}})", "\"\" is not one symbol"},
        Hostile{"id_twice", R"({"model": {"vocab": {"a": 0, "b": 0}}})",
                "\"b\" has id 0 where 1 belongs"},
        Hostile{"hole", R"({"model": {"vocab": {"a": 0, "b": 2}}})", "has id 2 where 1 belongs"},
        Hostile{"from_one", R"({"model": {"vocab": {"a": 1, "b": 2}}})", "where 0 belongs"},
        Hostile{"id_negative", R"({"model": {"vocab": {"a": -1}}})", "has id -1"},
        Hostile{"id_huge", R"({"model": {"vocab": {"a": 0, "b": 18446744073709551615}}})",
                "has id 18446744073709551615"},
        Hostile{"id_4294967296", R"({"model": {"vocab": {"a": 4294967296}}})", "has id 4294967296"},
        Hostile{"id_fraction", R"({"model": {"vocab": {"a": 0.0}}})", "has id 0.0"},
        Hostile{"id_text", R"({"model": {"vocab": {"a": "0"}}})", "where 0 belongs"},
        Hostile{"id_true", R"({"model": {"vocab": {"a": false}}})", "has id false"},
        Hostile{"id_null", R"({"model": {"vocab": {"a": null}}})", "has id null"},
        Hostile{"out_of_order", R"({"model": {"vocab": {"b": 0, "a": 1}}})", "\"a\" is out of"}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(CharTokenizer, AnIdOutsideTheVocabularyNeverReadsBeyondIt) {
  const auto tokenizer = CharTokenizer::from_text("ab");
  for (const std::int32_t id : {2, -1, INT32_MAX, INT32_MIN})
    EXPECT_THROW(tokenizer.symbol(id), std::out_of_range) << id;
}

}  // namespace
}  // namespace moe
