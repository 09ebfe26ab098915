#include "moe/data/bpe_training.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <set>
#include <string>
#include <vector>

#include "moe/base/error.h"
#include "moe/base/interrupt.h"
#include "moe/data/byte_alphabet.h"
#include "tests/base/scratch.h"
#include "tests/data/bpe_golden.h"

namespace moe {
namespace {

using test::message_of;
using test::train;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> written_merges(const BpeVocabulary& vocabulary) {
  std::vector<std::string> merges;
  const auto written = [&](std::int32_t id) {
    return characters_of(vocabulary.tokens[static_cast<std::size_t>(id)]);
  };
  for (const auto& merge : vocabulary.merges)
    merges.push_back(written(merge.left) + " " + written(merge.right));
  return merges;
}

TEST(TrainBpe, MergesAreThoseOfHuggingFacesTrainer) {
  std::set<std::string> names;
  for (const auto& row : test::bpe_golden().at("trained")) {
    const auto name = row.at("name").get<std::string>();
    const auto vocabulary = train(row.at("text"), row.at("vocab_size"), row.at("min_frequency"));
    EXPECT_EQ(written_merges(vocabulary), row.at("merges").get<std::vector<std::string>>()) << name;
    names.insert(name);
  }
  EXPECT_GE(names.size(), 20U);
}

TEST(TrainBpe, NoTokenIsMadeInTwoWays) {
  for (const auto& row : test::bpe_golden().at("trained")) {
    const auto vocabulary = train(row.at("text"), row.at("vocab_size"), row.at("min_frequency"));
    EXPECT_EQ(bpe_problem(vocabulary), "");
    EXPECT_EQ(vocabulary.tokens.size(), 257 + vocabulary.merges.size());
  }
}

TEST(TrainBpe, SpecialTokensComeFirstThenTheAlphabetThenMerges) {
  const auto vocabulary = train("aaab aaab", 259);
  ASSERT_EQ(vocabulary.tokens.size(), 259U);
  EXPECT_EQ(vocabulary.tokens[0], "<|endoftext|>");
  EXPECT_THAT(vocabulary.specials, ElementsAre(0));
  EXPECT_EQ(vocabulary.tokens[1], "!");
  EXPECT_EQ(vocabulary.tokens[189],
            std::string(1, '\0'));            // behind those that stand for themselves
  EXPECT_EQ(vocabulary.tokens[256], "\xAD");  // the last stand-in
  EXPECT_EQ(vocabulary.tokens[257], "aa");
}

TEST(TrainBpe, OfEquallyFrequentPairsTheOneOfSmallerIdsIsMergedFirst) {
  EXPECT_THAT(written_merges(train("zy ba", 258)), ElementsAre("b a"));
  EXPECT_THAT(written_merges(train("ab ac", 258)), ElementsAre("a b"));
}

TEST(TrainBpe, TheVocabularyEndsWhereNoPairIsFrequentEnough) {
  EXPECT_EQ(train("abc", 1000).tokens.size(), 259U);
  EXPECT_EQ(train("abc", 1000, 1).tokens.size(), 259U);
  EXPECT_EQ(train("abc abc", 1000, 2).tokens.size(), 257U + 2U);  // "abc" and " abc" are two chunks
  EXPECT_EQ(train("abc abc", 1000, 3).tokens.size(), 257U);
  EXPECT_EQ(train("", 1000).tokens.size(), 257U);
}

TEST(TrainBpe, TheResultDoesNotDependOnTheNumberOfThreads) {
  std::string text;
  while (text.size() < (std::size_t{3} << 20U))
    for (const auto& row : test::bpe_golden().at("trained"))
      text += row.at("text").get<std::string>();
  const auto alone = train(text, 400, 0, 1);
  EXPECT_EQ(train(text, 400, 0, 3), alone);
  EXPECT_EQ(alone.tokens.size(), 400U);
}

TEST(TrainBpe, FrequenciesAreOf64Bits) {
  ChunkCounts counts;
  counts.add_chunk("cd", INT32_MAX);
  counts.add_chunk("ab", INT64_C(1) << 40);
  const auto vocabulary = train_bpe(counts, {.vocab_size = 259});
  EXPECT_THAT(written_merges(vocabulary), ElementsAre("a b", "c d"));
}

TEST(TrainBpe, ASignalThatAsksToStopEndsIt) {
  const InterruptFlag flag;
  ASSERT_EQ(std::raise(SIGTERM), 0);
  EXPECT_THROW(train("abab", 300), Interrupted);
}

struct Impossible {
  const char* name;
  BpeRequest request;
  const char* says;
};
class ImpossibleRequest : public testing::TestWithParam<Impossible> {};

TEST_P(ImpossibleRequest, IsRefusedWithItsReason) {
  EXPECT_THAT(message_of<ConfigError>([] { train_bpe(ChunkCounts(), GetParam().request); }),
              HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(
    TrainBpe, ImpossibleRequest,
    testing::Values(Impossible{"fewer_than_bytes", {.vocab_size = 256}, "ask for 257 to 1048576"},
                    Impossible{"zero", {.vocab_size = 0}, "ask for 257"},
                    Impossible{"negative", {.vocab_size = -5}, "a vocabulary of -5 tokens"},
                    Impossible{"huge", {.vocab_size = INT64_MAX}, "ask for 257"},
                    Impossible{"frequency", {.min_frequency = -1}, "cannot stand -1 times"},
                    Impossible{"two_specials",
                               {.vocab_size = 257, .specials = {"<|a|>", "<|b|>"}},
                               "ask for 258"},
                    Impossible{"empty_special", {.specials = {""}}, "is not a text"},
                    Impossible{"invalid_special", {.specials = {"<|\xFF|>"}}, "is not a text"},
                    Impossible{"word_as_special", {.specials = {"the"}}, "\"the\" is what merges"},
                    Impossible{"newline_as_special", {.specials = {"\n"}}, "is what merges"},
                    Impossible{"part_of_a_contraction", {.specials = {"'r"}}, "is what merges"},
                    Impossible{"special_twice", {.specials = {"<|a|>", "<|a|>"}}, "given twice"}),
    [](const auto& given) { return std::string(given.param.name); });

TEST(TrainBpe, OtherSpecialTokensOrNoneAreFine) {
  ChunkCounts counts;
  counts.add_text("abab", "text");
  const auto none = train_bpe(counts, {.vocab_size = 300, .specials = {}});
  EXPECT_EQ(none.tokens[0], "!");
  const auto two = train_bpe(counts, {.vocab_size = 300, .specials = {"<pad>", "<|eot|>"}});
  EXPECT_EQ(two.tokens[1], "<|eot|>");
  EXPECT_THAT(two.specials, ElementsAre(0, 1));
}

}  // namespace
}  // namespace moe
