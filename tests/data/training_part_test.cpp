#include "moe/data/training_part.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "moe/base/random.h"
#include "moe/data/bpe_training.h"
#include "moe/data/corpus.h"
#include "moe/data/token_file.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

using test::Scratch;

std::string documents(Generator& generator, std::size_t pieces) {
  const std::vector<std::string> parts{"the", " cat",   " ",      "\n", "'s", ".",
                                       "12",  "\u6f22", "\u00fc", "zz", "  ", "<|endoftext|>",
                                       "<|",  "|>"};
  std::string out;
  for (std::size_t i = 0; i < pieces; ++i) out += parts[generator.below(parts.size())];
  return out;
}

Tokenizer bpe_learned_from(std::string_view text) {
  ChunkCounts counts;
  counts.add_texts(documents_of(text), "text");
  return BpeTokenizer(train_bpe(counts, {.vocab_size = 320}));
}

constexpr double kFractions[]{0.001, 0.1, 0.35, 0.5, 0.77, 0.9, 0.999};

TEST(TrainingTokens, AreAsManyAsTheTextDividedBeforeItIsEncodedHas) {
  Generator generator(11);
  for (int i = 0; i < 60; ++i) {
    const auto text = documents(generator, 30 + generator.below(300));
    const auto tokenizer = bpe_learned_from(text);
    const auto whole = tokenizer.encode(text, "t", {.specials = SpecialText::token});
    for (const auto fraction : kFractions) {
      const auto end = training_end(text, fraction);
      const auto part =
          tokenizer.encode(text.substr(0, end), "t", {.specials = SpecialText::token});
      ASSERT_EQ(training_tokens(whole, tokenizer, fraction), part.size())
          << fraction << " " << text;
    }
  }
}

TEST(TrainingTokens, ACutFarAwayIsFound) {
  const auto text = "a b " + std::string(200'000, 'z') + " end of it";
  const auto tokenizer = bpe_learned_from("some other words");
  const auto whole = tokenizer.encode(text, "t");
  const auto end = training_end(text, 0.3);
  EXPECT_EQ(training_tokens(whole, tokenizer, 0.3),
            tokenizer.encode(text.substr(0, end), "t").size());
}

TEST(TrainingTokens, ByCharactersAreTheirShare) {
  const Tokenizer tokenizer = CharTokenizer::from_text("abc");
  EXPECT_EQ(training_tokens(Tokens(101, 1), tokenizer, 0.9), 90U);
}

std::map<std::string, std::int64_t> as_map(const ChunkCounts& counts) {
  std::map<std::string, std::int64_t> out;
  for (std::size_t i = 0; i < counts.size(); ++i)
    out[std::string(counts.chunk(i))] = counts.count(i);
  return out;
}

TEST(CountTrainingChunks, AreThoseOfTheJoinedTextsUpToTheirEnd) {
  const Scratch scratch;
  Generator generator(12);
  Log log;
  for (int i = 0; i < 40; ++i) {
    std::vector<std::filesystem::path> sources;
    std::string joined;
    for (const auto* name : {"a", "b", "c"}) {
      const auto text = i % 4 == 0 && *name == 'b' ? std::string() : documents(generator, 100);
      std::ofstream(scratch / name) << text;
      sources.push_back(scratch / name);
      if (!text.empty()) joined += (joined.empty() ? "" : kEndOfText) + text;
    }
    for (const auto fraction : kFractions) {
      ChunkCounts want;
      want.add_texts(
          documents_of(std::string_view(joined).substr(0, training_end(joined, fraction))), "t");
      ASSERT_EQ(as_map(count_training_chunks(sources, fraction, 2, log)), as_map(want)) << fraction;
    }
    ChunkCounts all;
    all.add_texts(documents_of(joined), "t");
    EXPECT_EQ(as_map(count_training_chunks(sources, {}, 1, log)), as_map(all));
  }
}

// Longer than what is held at once.
TEST(CountTrainingChunks, OfALongTextToo) {
  const Scratch scratch;
  Generator generator(13);
  Log log;
  const auto piece = documents(generator, 100'000);
  std::string text;
  while (text.size() < (std::size_t{36} << 20U)) text += piece;
  std::ofstream(scratch / "a") << text;
  for (const auto fraction : {0.3, 0.9}) {
    ChunkCounts want;
    want.add_texts(documents_of(std::string_view(text).substr(0, training_end(text, fraction))),
                   "t");
    EXPECT_EQ(as_map(count_training_chunks({scratch / "a"}, fraction, 2, log)), as_map(want));
  }
}

TEST(HeldTokens, HoldVectorsAndFiles) {
  HeldTokens all;
  EXPECT_EQ(all.size(), 0U);
  all = HeldTokens(Tokens{1, 2, 3, 4});
  const auto part = all.part(1, 2);
  all = {};
  EXPECT_THAT(TokenView(part).copy(), testing::ElementsAre(2, 3));
  EXPECT_EQ(part.bytes_held(), 16U);
}

}  // namespace
}  // namespace moe
