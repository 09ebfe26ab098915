#include "moe/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/system.h"
#include "moe/data/utf8.h"
#include "tests/base/scratch.h"
#include "tests/data/bpe_golden.h"

namespace moe {
namespace {

using test::bpe_case;
using test::message_of;
using test::trained_on;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using Ids = std::vector<std::int32_t>;

Tokenizer read_back(const Tokenizer& tokenizer) {
  return Tokenizer::from_json(parse_json(json_text(tokenizer.to_json()), "t", ErrorKind::data), "t",
                              ErrorKind::data);
}

TEST(Tokenizer, OfCharactersAnswersAsCharTokenizerDoes) {
  const auto by_character = CharTokenizer::from_text("b\na\u00e9");
  const Tokenizer tokenizer = by_character;
  EXPECT_EQ(tokenizer.kind(), TokenizerKind::character);
  EXPECT_EQ(tokenizer.vocab_size(), 4);
  EXPECT_THAT(tokenizer.encode("a\u00e9", "x"), ElementsAre(1, 3));
  EXPECT_EQ(tokenizer.decode(Ids{3, 1}), "\u00e9a");
  EXPECT_EQ(tokenizer.decode(Ids{3, 1}, SpecialText::ordinary), "\u00e9a");
  EXPECT_EQ(tokenizer.symbol(3), "\u00e9");
  EXPECT_FALSE(tokenizer.is_special(3));
  EXPECT_EQ(tokenizer.start_id(), 0);
  EXPECT_EQ(json_text(tokenizer.to_json()), json_text(by_character.to_json()));
  EXPECT_EQ(tokenizer.characters()->symbols(), by_character.symbols());
  EXPECT_EQ(tokenizer.bpe(), nullptr);
  EXPECT_THROW(tokenizer.encode("z", "x", {.unknown = ErrorKind::checkpoint}), CheckpointError);
}

TEST(Tokenizer, OfBytePairsAnswersAsBpeTokenizerDoes) {
  const auto by_pairs = trained_on(bpe_case("latin"));
  const Tokenizer tokenizer = by_pairs;
  const std::string text = "the lamp<|endoftext|>";
  EXPECT_EQ(tokenizer.kind(), TokenizerKind::bpe);
  EXPECT_EQ(tokenizer.vocab_size(), by_pairs.vocab_size());
  EXPECT_EQ(tokenizer.encode(text, "x"), by_pairs.encode(text, "x"));
  EXPECT_EQ(tokenizer.encode(text, "x", {.specials = SpecialText::token, .threads = 2}),
            by_pairs.encode(text, "x", SpecialText::token));
  EXPECT_EQ(tokenizer.symbol(300), by_pairs.bytes(300));
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_EQ(tokenizer.decode(Ids{0, 65}, SpecialText::ordinary), "a");
  EXPECT_EQ(tokenizer.characters(), nullptr);
  EXPECT_NE(tokenizer.bpe(), nullptr);
}

TEST(Tokenizer, TheFileTellsTheKind) {
  const Tokenizer by_character = CharTokenizer::from_text("ab");
  const Tokenizer by_pairs = trained_on(bpe_case("latin"));
  EXPECT_EQ(read_back(by_character).kind(), TokenizerKind::character);
  EXPECT_EQ(read_back(by_pairs).kind(), TokenizerKind::bpe);
  EXPECT_EQ(read_back(by_pairs).bpe()->vocabulary(), by_pairs.bpe()->vocabulary());
}

TEST(Tokenizer, TwoAreEqualWhereTheyDoTheSame) {
  const Tokenizer ab = CharTokenizer::from_text("ab"), bytes = BpeTokenizer(test::train("", 257));
  const Tokenizer latin = trained_on(bpe_case("latin"));
  EXPECT_EQ(ab, Tokenizer(CharTokenizer::from_text("bba")));
  EXPECT_EQ(latin, read_back(latin));
  EXPECT_NE(ab, Tokenizer(CharTokenizer::from_text("abc")));
  EXPECT_NE(latin, bytes);
  EXPECT_NE(ab, bytes);
  EXPECT_EQ(Tokenizer().vocab_size(), 0);
}

/// The bytes alone: nothing is merged, yet it is no tokenizer of characters.
TEST(Tokenizer, BpeWithoutMergesIsStillBpe) {
  const Tokenizer bytes = BpeTokenizer(test::train("", 257));
  EXPECT_EQ(read_back(bytes).kind(), TokenizerKind::bpe);
}

TEST(Tokenizer, AnIdOutsideTheVocabularyIsOutOfRangeForBothKinds) {
  const Tokenizer by_character = CharTokenizer::from_text("ab");
  const Tokenizer by_pairs = trained_on(bpe_case("latin"));
  for (const auto* tokenizer : {&by_character, &by_pairs})
    for (const auto id : {static_cast<std::int32_t>(tokenizer->vocab_size()), -1, INT32_MIN}) {
      EXPECT_THROW(tokenizer->symbol(id), std::out_of_range);
      EXPECT_THROW(tokenizer->is_special(id), std::out_of_range);
      EXPECT_THROW(tokenizer->decode(Ids{id}), std::out_of_range);
    }
}

TEST(TokenStream, ShowsWholeCharactersAndTheTextOfDecode) {
  const Tokenizer tokenizer = trained_on(bpe_case("all"));
  Generator random(2);
  for (int round = 0; round < 100; ++round) {
    Ids ids;
    for (int i = 0; i < 30; ++i)
      ids.push_back(static_cast<std::int32_t>(random.below(random.below(2) != 0 ? 257 : 1000)));
    for (const auto specials : {SpecialText::token, SpecialText::ordinary}) {
      TokenStream stream(tokenizer, specials);
      std::string text;
      for (const auto id : ids) {
        text += stream.push(id);
        ASSERT_FALSE(find_invalid_utf8(text));
      }
      EXPECT_EQ(text + stream.finish(), tokenizer.decode(ids, specials));
    }
  }
}

TEST(TokenStream, OfATextShowsItAsItComesWithoutReplacements) {
  const Tokenizer tokenizer = trained_on(bpe_case("latin"));  // has few merges of other scripts
  const std::string text = "\u6f22\u5b57 \U0001F469\u200d\U0001F680 caf\u00e9";
  TokenStream stream(tokenizer);
  std::string shown;
  for (const auto id : tokenizer.encode(text, "text")) {
    shown += stream.push(id);
    ASSERT_TRUE(text.starts_with(shown));
  }
  EXPECT_EQ(shown, text);
  EXPECT_EQ(stream.finish(), "");
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

TEST(ReadTokenizer, FilesOfEachKindAreReadForWhatTheyAre) {
  const test::Scratch scratch;
  const auto path = scratch / "t";
  write(path, json_text(CharTokenizer::from_text("ab").to_json(), 2));
  EXPECT_EQ(read_tokenizer(path, ErrorKind::data).kind(), TokenizerKind::character);
  write(path, "\n" + json_text(trained_on(bpe_case("latin")).to_json(), 2));
  EXPECT_EQ(read_tokenizer(path, ErrorKind::data).vocab_size(), 376);
}

TEST(ReadTokenizer, FilesOfOtherKindsAreDataErrorsThatNameThem) {
  const test::Scratch scratch;
  const auto path = scratch / "t";
  const auto refusal = [&](const std::string& bytes) {
    write(path, bytes);
    return message_of<DataError>([&] { read_tokenizer(path, ErrorKind::data); });
  };
  EXPECT_THAT(refusal(""), HasSubstr("t: is empty; "));
  EXPECT_THAT(refusal(" \n"), HasSubstr("t: is empty; "));
  EXPECT_THAT(refusal("\x1F\x8B\x08"), HasSubstr("gzip"));
  EXPECT_THAT(refusal("#version: 0.2\nh e\n"), HasSubstr("line 1: "));
  EXPECT_THAT(refusal("[1]"), HasSubstr("has no model"));
  EXPECT_THAT(refusal("{"), HasSubstr("ends too early"));
  EXPECT_THAT(refusal("\xEF\xBB\xBF{}"), HasSubstr("byte-order mark"));
  EXPECT_THAT(message_of<DataError>([&] { read_tokenizer(scratch / "none", ErrorKind::data); }),
              HasSubstr("none"));
  EXPECT_THAT(message_of<DataError>([&] { read_tokenizer(scratch.path(), ErrorKind::data); }),
              StartsWith(scratch.path().string()));
}

/// One of several damages at a random place; several of them may come together.
std::string damaged(std::string text, Generator& random) {
  constexpr std::string_view kParts = "{}[],:\"\\ \n0123456789-.eEtrue\xC3\xFF\0=+/";
  for (auto times = 1 + random.below(3); times > 0 && !text.empty(); --times) {
    const auto at = random.below(text.size());
    switch (random.below(5)) {
      case 0:
        text[at] = kParts[random.below(kParts.size())];
        break;
      case 1:
        text.insert(at, 1, kParts[random.below(kParts.size())]);
        break;
      case 2:
        text.erase(at, 1 + random.below(8));
        break;
      case 3:
        text.insert(at, text.substr(random.below(text.size()), random.below(40)));
        break;
      default:
        text[at] = static_cast<char>(random.below(256));
    }
  }
  return text;
}

/// Each damaged file is read or refused with an Error; MAKEMOE_FUZZ_SECONDS makes it longer.
TEST(ReadTokenizer, DamagedFilesAreReadOrRefusedAndNothingElse) {
  const auto* given = std::getenv("MAKEMOE_FUZZ_SECONDS");
  const auto seconds = given != nullptr ? std::atof(given) : 0.0;
  const auto pairs = trained_on(bpe_case("latin"));
  const std::vector<std::string> ranks(pairs.vocabulary().tokens.begin() + 1,
                                       pairs.vocabulary().tokens.end());
  const std::vector<std::string> sound{json_text(pairs.to_json()),
                                       json_text(CharTokenizer::from_text("ab\u00e9").to_json()),
                                       test::rank_lines(ranks)};
  const auto seed = given != nullptr ? static_cast<std::uint64_t>(monotonic_seconds() * 1e6) : 1;
  if (given != nullptr) std::cout << "seed " << seed << std::endl;
  Generator random(seed);
  const auto end = monotonic_seconds() + seconds;
  int taken = 0, refused = 0;
  for (int round = 0; round < 300 || monotonic_seconds() < end; ++round) {
    const auto text = damaged(sound[static_cast<std::size_t>(round) % sound.size()], random);
    try {
      const auto tokenizer =
          text.starts_with('{')
              ? Tokenizer::from_json(parse_json(text, "t", ErrorKind::data), "t", ErrorKind::data)
              : Tokenizer(BpeTokenizer::from_tiktoken(text, "t", ErrorKind::data));
      if (tokenizer.kind() == TokenizerKind::bpe) {
        const auto ids = tokenizer.encode("the lamp \u00e9", "x");
        ASSERT_EQ(tokenizer.decode(ids), "the lamp \u00e9");
      }
      ++taken;
    } catch (const DataError&) {
      ++refused;
    }
  }
  EXPECT_GT(taken, 0);
  EXPECT_GT(refused, taken);
}

TEST(Tokenizer, KnowsTheTokenThatEndsADocument) {
  EXPECT_EQ(Tokenizer(trained_on(bpe_case("latin"))).end_id(), 0);
  EXPECT_EQ(Tokenizer(CharTokenizer::from_text("<|endoftext|>")).end_id(), std::nullopt);
  auto vocabulary = test::train("the lamp", 260);
  vocabulary.tokens[0] = "<|fim|>";
  EXPECT_EQ(Tokenizer(BpeTokenizer(vocabulary)).end_id(), std::nullopt);
}

TEST(Tokenizer, ShowsASymbolOrItsBytes) {
  const Tokenizer tokenizer = BpeTokenizer(test::train("\u00e9\u00e9\u00e9 \"\u00e9\"", 260));
  std::vector<std::string> shown;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    shown.push_back(tokenizer.shown_symbol(id));
  EXPECT_THAT(shown, testing::Contains("\u00e9"));
  EXPECT_THAT(shown, testing::Contains("\""));
  EXPECT_THAT(shown, testing::Contains("\\xc3"));
}

}  // namespace
}  // namespace moe
