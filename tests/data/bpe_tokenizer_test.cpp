#include "moe/data/bpe_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "data/chunk_hash.h"
#include "moe/base/error.h"
#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/data/bpe_encoder.h"
#include "moe/data/utf8.h"
#include "tests/base/scratch.h"
#include "tests/data/bpe_golden.h"

namespace moe {
namespace {

using test::bpe_case;
using test::bpe_golden;
using test::message_of;
using test::train;
using test::trained_on;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;
using Ids = std::vector<std::int32_t>;

std::string sum_of(const Ids& ids) {
  std::vector<std::string> numbers;
  for (const auto id : ids) numbers.push_back(cat(id));
  return sha256_hex(join(numbers, ","));
}

TEST(BpeTokenizer, TheIdsOfATextAreHuggingFaces) {
  for (const auto& row : bpe_golden().at("trained")) {
    const auto tokenizer = trained_on(row);
    EXPECT_EQ(tokenizer.encode(row.at("text").get<std::string>(), "text"), row.at("ids").get<Ids>())
        << row.at("name");
  }
}

TEST(BpeTokenizer, TheIdsOfHostileTextsAreHuggingFacesWithSpecialTokensAndWithout) {
  const auto text = bpe_golden().at("hostile").get<std::string>();
  for (const auto& row : bpe_golden().at("trained")) {
    const auto tokenizer = trained_on(row);
    EXPECT_EQ(sum_of(tokenizer.encode(text, "text")), row.at("hostile_ids")) << row.at("name");
    EXPECT_EQ(sum_of(tokenizer.encode(text, "text", SpecialText::token)),
              row.at("hostile_ids_with_tokens"))
        << row.at("name");
  }
}

TEST(BpeTokenizer, DecodedTextIsHuggingFacesWhereBytesAreNoCharactersToo) {
  const auto tokenizer = trained_on(bpe_case("latin"));
  for (const auto& row : bpe_golden().at("decoded")) {
    const auto ids = row.at(0).get<Ids>();
    EXPECT_EQ(tokenizer.decode(ids), row.at(1).get<std::string>());
    EXPECT_EQ(tokenizer.decode(ids, SpecialText::ordinary), row.at(2).get<std::string>());
  }
}

/// Merges the leftmost pair of lowest rank, again and again, by looking at all of them.
Ids encode_plainly(const BpeVocabulary& vocabulary, std::string_view chunk) {
  Ids ids;
  for (const char byte : chunk)
    ids.push_back(static_cast<std::int32_t>(
        std::ranges::find(vocabulary.tokens, std::string(1, byte)) - vocabulary.tokens.begin()));
  for (bool merged = true; merged;) {
    merged = false;
    for (const auto& merge : vocabulary.merges) {
      for (std::size_t at = 0; at + 1 < ids.size() && !merged; ++at) {
        if (ids[at] != merge.left || ids[at + 1] != merge.right) continue;
        ids[at] = merge.result;
        ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(at) + 1);
        merged = true;
      }
      if (merged) break;
    }
  }
  return ids;
}

TEST(BpeTokenizer, ChunksOfAnyLengthAreMergedInTheOrderOfRanks) {
  Generator random(6);
  for (int round = 0; round < 12; ++round) {
    std::string letters;
    for (int i = 0; i < 400; ++i) letters += static_cast<char>('a' + random.below(3));
    const BpeTokenizer tokenizer(train(letters, 257 + 40));
    for (const std::size_t length : {1, 2, 3, 7, 16, 47, 48, 49, 64, 128, 129, 300}) {
      const auto chunk = std::string_view(letters).substr(random.below(100), length);
      EXPECT_EQ(tokenizer.encode(chunk, "text"), encode_plainly(tokenizer.vocabulary(), chunk))
          << chunk;
    }
  }
}

/// Longer than what one thread takes, with special tokens and a stretch that cannot be cut.
std::string large_text() {
  std::string text;
  while (text.size() < (std::size_t{2} << 20U)) {
    for (const auto& row : bpe_golden().at("trained")) text += row.at("text").get<std::string>();
    text +=
        std::string(3000, 'x') + "<|endoftext|>" + bpe_golden().at("hostile").get<std::string>();
  }
  return text;
}

TEST(BpeTokenizer, AnyNumberOfThreadsGivesTheSameIds) {
  const auto text = large_text();
  const auto tokenizer = trained_on(bpe_case("all"));
  for (const auto specials : {SpecialText::ordinary, SpecialText::token}) {
    const auto alone = tokenizer.encode(text, "text", specials, 1);
    for (const int threads : {2, 3, 9})
      EXPECT_EQ(tokenizer.encode(text, "text", specials, threads), alone) << threads;
    EXPECT_EQ(tokenizer.decode(alone), text);
  }
}

TEST(BpeTokenizer, ALongStretchOfOneLetterIsEncodedInTime) {
  const auto tokenizer = trained_on(bpe_case("latin"));
  const std::string text(std::size_t{1} << 20U, 'e');
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, "text", SpecialText::ordinary, 2)), text);
}

TEST(BpeEncoder, WhatItRemembersDoesNotChangeWhatItAnswers) {
  const auto tokenizer = trained_on(bpe_case("all"));
  BpeEncoder encoder(tokenizer);
  Generator random(9);
  for (int round = 0; round < 3; ++round)  // more chunks than it can keep
    for (int i = 0; i < 60000; ++i) {
      const auto number = cat(" ", random.below(100000), "ab");
      Ids ids;
      encoder.append(number, ids);
      if (i % 1000 == 0) {
        ASSERT_EQ(ids, tokenizer.encode(number, "text"));
      }
      ASSERT_EQ(tokenizer.decode(ids), number);
    }
}

/// Two words of sixteen letters with one hash: the second half undoes what the first makes of it.
std::pair<std::string, std::string> words_of_one_hash() {
  constexpr std::uint64_t kFactor = 0x9E3779B97F4A7C15ULL, kSize = 16 * kFactor;
  const auto half_hash = [](const std::string& half) {
    std::uint64_t word = 0;
    std::memcpy(&word, half.data(), sizeof word);
    return ((kSize ^ word) * kFactor) ^ (kSize >> 29U);
  };
  const std::string first = "abcdefgh";
  Generator random(12);
  for (;;) {
    std::string other, end(8, 'z');
    for (int i = 0; i < 8; ++i) other += static_cast<char>('a' + random.below(26));
    std::uint64_t word = 0;
    std::memcpy(&word, end.data(), sizeof word);
    word ^= half_hash(first) ^ half_hash(other);
    std::memcpy(end.data(), &word, sizeof word);
    if (std::ranges::all_of(end,
                            [](char c) { return std::isalpha(static_cast<unsigned char>(c)); }))
      return {first + "zzzzzzzz", other + end};
  }
}

TEST(BpeEncoder, ChunksOfOneHashAreToldApart) {
  const auto [one, other] = words_of_one_hash();
  ASSERT_EQ(chunk_hash(one), chunk_hash(other));
  const auto tokenizer = trained_on(bpe_case("latin"));
  BpeEncoder encoder(tokenizer);
  for (const auto& word : {one, other, one, other}) {
    Ids ids;
    encoder.append(word, ids);
    EXPECT_EQ(tokenizer.decode(ids), word);
  }
}

TEST(BpeTokenizer, EveryTextSurvivesEncodeAndDecode) {
  Generator random(11);
  const auto tokenizer = trained_on(bpe_case("all"));
  for (int length = 0; length < 200; length += 5) {
    std::string text;
    for (int i = 0; i < length; ++i) {
      const auto symbol =
          static_cast<char32_t>(random.below(random.below(2) != 0 ? 0x80 : 0x110000));
      append_utf8(text, symbol >= 0xD800 && symbol <= 0xDFFF ? U'\uFFFD' : symbol);
    }
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, "text")), text);
    ASSERT_EQ(tokenizer.decode(tokenizer.encode(text, "text", SpecialText::token)), text);
  }
}

TEST(BpeTokenizer, ASpecialTokenIsOneIdOnlyWhereItIsAskedFor) {
  const auto tokenizer = trained_on(bpe_case("latin"));
  const std::string text = "a<|endoftext|>b";
  EXPECT_THAT(tokenizer.encode(text, "text", SpecialText::token), ElementsAre(65, 0, 66));
  const auto ordinary = tokenizer.encode(text, "text", SpecialText::ordinary);
  EXPECT_THAT(ordinary, testing::Not(testing::Contains(0)));
  EXPECT_EQ(tokenizer.decode(ordinary, SpecialText::ordinary), text);
  EXPECT_EQ(tokenizer.decode(Ids{65, 0, 66}, SpecialText::ordinary), "ab");
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(1));
  EXPECT_EQ(tokenizer.start_id(), 0);
}

TEST(BpeTokenizer, OfSpecialTokensThatBeginAlikeTheLongestCounts) {
  ChunkCounts counts;
  const BpeTokenizer tokenizer(
      train_bpe(counts, {.vocab_size = 300, .specials = {"<|a|>", "<|a|><|b|>", "x|>"}}));
  EXPECT_THAT(tokenizer.encode("<|a|><|b|><|a|>x|>", "text", SpecialText::token),
              ElementsAre(1, 0, 2));
  EXPECT_EQ(tokenizer.bytes(tokenizer.start_id()), "\n");
}

TEST(BpeTokenizer, InvalidUtf8IsADataErrorWithItsByte) {
  const auto tokenizer = trained_on(bpe_case("latin"));
  for (const int threads : {1, 4})
    EXPECT_THAT(message_of<DataError>([&] {
                  tokenizer.encode("ab\xE2\x82", "--prompt", SpecialText::ordinary, threads);
                }),
                StartsWith("--prompt: byte 2 is not valid UTF-8; "));
}

TEST(BpeTokenizer, TheFirstInvalidByteOfALargeTextIsNamedWhateverTheThreads) {
  const auto tokenizer = trained_on(bpe_case("latin"));
  constexpr std::size_t kPiece = std::size_t{1} << 20U;  // what a thread checks at a time
  std::string text;
  while (text.size() < 3 * kPiece) text += "\u6f22";
  for (const auto at : {kPiece - 1, kPiece, kPiece + 1, 2 * kPiece + 5, text.size() - 1}) {
    auto damaged = text;
    damaged[damaged.size() - 1] = 'x';
    damaged[at] = '\xFF';
    const auto message_with = [&](int threads) {
      return message_of<DataError>(
          [&] { tokenizer.encode(damaged, "t", SpecialText::ordinary, threads); });
    };
    EXPECT_THAT(message_with(1), StartsWith(cat("t: byte ", at - at % 3)));
    EXPECT_EQ(message_with(3), message_with(1));
  }
}

TEST(BpeTokenizer, AnIdOutsideTheVocabularyNeverReadsBeyondIt) {
  const auto tokenizer = trained_on(bpe_case("latin"));
  const auto size = static_cast<std::int32_t>(tokenizer.vocab_size());
  for (const std::int32_t id : {size, -1, INT32_MAX, INT32_MIN}) {
    EXPECT_THROW(tokenizer.bytes(id), std::out_of_range) << id;
    EXPECT_THROW(tokenizer.is_special(id), std::out_of_range) << id;
    EXPECT_THROW(tokenizer.decode(Ids{id}), std::out_of_range) << id;
  }
}

TEST(BpeTokenizer, AVocabularyWithAProblemIsABug) {
  auto vocabulary = train("abab", 300);
  vocabulary.merges[0].result = 5;
  EXPECT_THAT(bpe_problem(vocabulary), HasSubstr("merge 0 does not make"));
  EXPECT_THROW(BpeTokenizer{vocabulary}, std::logic_error);
}

}  // namespace
}  // namespace moe
