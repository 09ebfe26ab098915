#include "moe/data/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <string>
#include <vector>

#include "data/text_parts.h"
#include "moe/base/interrupt.h"
#include "moe/base/random.h"
#include "moe/base/text.h"
#include "moe/data/bpe_training.h"
#include "moe/data/corpus.h"
#include "tests/base/on_disk.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

using test::listing;
using test::message_of;
using test::Scratch;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr std::string_view kWords =
    "the cat sat on the mat. It's 1234 o'clock,\n\nwasn't it?  \u00fcber na\u00efve \u6f22\u5b57 "
    "\U0001F600\U0001F600 x\u0301y \t\t end  ";

Tokenizer bpe_of(std::string_view text, std::vector<std::string> specials = {kEndOfText}) {
  ChunkCounts counts;
  counts.add_text(text, "text");
  return BpeTokenizer(train_bpe(counts, {.vocab_size = 330, .specials = std::move(specials)}));
}

/// Words, signs, white space, apostrophes, and special tokens, whole and in part.
std::string random_text_of(Generator& generator, std::size_t pieces) {
  const std::vector<std::string> parts{
      "the",          " ",        "  ",      "\n",         "'",  "'s", "cat",  "12",
      "\u6f22\u5b57", "\u00fc",   "x\u0301", ".",          "\t", ",",  "\r\n", "<|endoftext|>",
      "<|end",        "oftext|>", "<",       "<|endoftext"};
  std::string out;
  for (std::size_t i = 0; i < pieces; ++i) out += parts[generator.below(parts.size())];
  return out;
}

class Prepare : public testing::Test {
 protected:
  std::filesystem::path text(const std::string& name, const std::string& bytes) {
    std::ofstream(scratch / name, std::ios::binary) << bytes;
    return scratch / name;
  }
  Tokens ids_of(const std::vector<std::filesystem::path>& sources, const Tokenizer& tokenizer,
                std::size_t batch_bytes = 64, int threads = 1) {
    PrepareRequest request{sources, &tokenizer, threads};
    request.batch_bytes = batch_bytes;
    info = prepare_tokens(request, scratch / "out.tokens", files, log);
    const auto file = TokenFile::open(scratch / "out.tokens");
    EXPECT_EQ(file.info(), info);
    return file.tokens().copy();
  }
  std::string refusal(const std::vector<std::filesystem::path>& sources,
                      const Tokenizer& tokenizer) {
    const auto message = message_of<DataError>([&] { ids_of(sources, tokenizer); });
    EXPECT_FALSE(fs::exists(scratch / "out.tokens"));
    return message;
  }

  Scratch scratch;
  FileLayer files;
  Log log;
  TokenFileInfo info;
};

TEST_F(Prepare, TheIdsAreThoseOfTheWholeTextHoweverItIsCutAndWhoeverEncodes) {
  Generator generator(7);
  const auto tokenizer = bpe_of(kWords);
  for (int i = 0; i < 60; ++i) {
    const auto bytes = random_text_of(generator, 1 + generator.below(400));
    const auto path = text("t.txt", bytes);
    const auto want =
        tokenizer.encode(clean_text(bytes, "t").utf8, "t", {.specials = SpecialText::token});
    for (const std::size_t batch : {1, 17, 100, 1 << 20})
      ASSERT_EQ(ids_of({path}, tokenizer, batch, 1 + i % 3), want) << bytes;
  }
}

TEST_F(Prepare, OtherSpecialTokensAndThoseThatBeginAlikeAreFoundAcrossCuts) {
  Generator generator(8);
  const auto tokenizer =
      bpe_of(kWords, {kEndOfText, "<|endoftext|>  <|more|>", "<|endoftext", "\u6f22<"});
  for (int i = 0; i < 60; ++i) {
    const auto bytes = random_text_of(generator, 200);
    const auto path = text("t.txt", bytes);
    const auto want =
        tokenizer.encode(clean_text(bytes, "t").utf8, "t", {.specials = SpecialText::token});
    for (const std::size_t batch : {1, 29}) ASSERT_EQ(ids_of({path}, tokenizer, batch), want);
  }
}

TEST_F(Prepare, ByCharactersFilesAreOneTextAndSpecialTokensAreLetters) {
  Generator generator(9);
  const auto bytes = random_text_of(generator, 3000);
  const auto clean = clean_text(bytes, "t").utf8;
  const Tokenizer tokenizer = CharTokenizer::from_text(clean + "ab");
  const auto a = text("a", "ab"), b = text("b", bytes);
  for (const std::size_t batch : {1, 1000, 1 << 20})
    EXPECT_EQ(ids_of({a, b}, tokenizer, batch, 2), tokenizer.encode("ab" + clean, "t"));
}

TEST_F(Prepare, DocumentsAreSeparatedByOneTokenAndEmptyFilesAreNone) {
  const auto tokenizer = bpe_of(kWords);
  const auto end = tokenizer.encode(kEndOfText, "t", {.specials = SpecialText::token}).at(0);
  auto want = tokenizer.encode("the cat", "t");
  want.push_back(end);
  const auto second = tokenizer.encode(" sat", "t");
  want.insert(want.end(), second.begin(), second.end());
  const std::vector<std::filesystem::path> sources{text("0", ""), text("a", "the cat"),
                                                   text("e", ""), text("b", " sat"), text("z", "")};
  for (const std::size_t batch : {1, 1 << 20}) EXPECT_EQ(ids_of(sources, tokenizer, batch), want);
  EXPECT_THAT(info.sources, SizeIs(5));
}

TEST_F(Prepare, WithoutTheTokenFilesAreOneText) {
  const auto tokenizer = bpe_of(kWords, {});
  const std::vector<std::filesystem::path> sources{text("a", "the c"), text("e", ""),
                                                   text("b", "at sat on"), text("z", "")};
  for (const std::size_t batch : {1, 3, 1 << 20})
    EXPECT_EQ(ids_of(sources, tokenizer, batch), tokenizer.encode("the cat sat on", "t"));
}

TEST_F(Prepare, TheHeaderTellsTheSourcesAndTheTokenizer) {
  const auto tokenizer = bpe_of(kWords);
  const auto a = text("a", "the\r\ncat"), b = text("b", "mat");
  ids_of({a, b}, tokenizer);
  EXPECT_EQ(info.tokenizer, tokenizer_sum(tokenizer));
  EXPECT_EQ(info.vocab_size, tokenizer.vocab_size());
  ASSERT_THAT(info.sources, SizeIs(2));
  EXPECT_EQ(info.sources[0].path, a);
  EXPECT_EQ(info.sources[0].bytes, 8U);
  EXPECT_EQ(info.sources[0].sha256, sha256_hex("the\r\ncat"));
  EXPECT_EQ(info.sources[0].text_sha256, sha256_hex("the\ncat"));
  EXPECT_EQ(outdated(info, tokenizer_sum(tokenizer), std::vector{a, b}), "");
}

TEST_F(Prepare, WhatIsWrongWithATextNamesItAndLeavesNoFile) {
  const auto tokenizer = bpe_of(kWords);
  EXPECT_THAT(refusal({text("a", "good"), text("b", "bad \xff")}, tokenizer),
              HasSubstr("/b: byte 4 is not valid UTF-8"));
  EXPECT_THAT(refusal({text("a", "")}, tokenizer), HasSubstr("/a: is empty"));
  EXPECT_THAT(refusal({scratch / "gone"}, tokenizer), HasSubstr("/gone: cannot be read"));
  EXPECT_THAT(refusal({text("a", "abc"), text("b", "ab\u2603")}, CharTokenizer::from_text("abc")),
              HasSubstr("/b: '\u2603' (U+2603) is not in the vocabulary"));
  EXPECT_THAT(refusal({text("\xff", "a")}, tokenizer), HasSubstr("this name is not UTF-8"));
  EXPECT_THAT(listing(scratch.path()), ElementsAre("a", "b", "\xff"));
}

TEST_F(Prepare, ATextWithoutAnyPlaceToCutItIsEncodedWholeAndAHugeOneRefused) {
  const auto tokenizer = bpe_of(kWords);
  const std::string word(5000, 'a');
  EXPECT_EQ(ids_of({text("a", word)}, tokenizer), tokenizer.encode(word, "t"));
  const auto huge = text("b", "");
  std::filesystem::resize_file(huge, std::uint64_t{140} << 20U);  // zeros: signs without an end
  PrepareRequest request{{huge}, &tokenizer, 1};
  EXPECT_THAT(message_of<DataError>([&] { prepare_tokens(request, scratch / "o", files, log); }),
              HasSubstr("without a place to cut them"));
}

TEST_F(Prepare, ASignalStopsItAndLeavesNothing) {
  const auto tokenizer = bpe_of(kWords);
  const auto path = text("a", std::string(100'000, ' '));
  const InterruptFlag flag;
  std::raise(SIGTERM);
  EXPECT_THROW(ids_of({path}, tokenizer), Interrupted);
  EXPECT_THAT(listing(scratch.path()), ElementsAre("a"));
}

TEST_F(Prepare, AFaultAtAnyOperationLeavesNothingThatIsBelieved) {
  const auto tokenizer = bpe_of(kWords);
  const auto path = text("a", random_text_of(*std::make_unique<Generator>(3), 300));
  for (const char* kind : {"ENOSPC@", "short@"})
    for (int n = 1;; ++n) {
      ASSERT_LT(n, 100);
      std::filesystem::remove(scratch / "out.tokens");
      files = FileLayer(FaultPlan::parse(cat(kind, n)), [](const std::string&) {});
      if (message_of<ResourceError>([&] { ids_of({path}, tokenizer); }).empty()) break;
      for (const auto& name : listing(scratch.path())) {
        EXPECT_FALSE(name.starts_with(".tmp"));
        if (name == "out.tokens") {
          EXPECT_FALSE(TokenFile::open(scratch / "out.tokens").tokens().empty());
        }
      }
    }
}

TEST(CharactersOf, AreThoseOfAllTextsCleaned) {
  const Scratch scratch;
  std::ofstream(scratch / "a", std::ios::binary) << "\xEF\xBB\xBFxy\r\n";
  std::ofstream(scratch / "b", std::ios::binary) << "\u6f22x";
  Log log;
  EXPECT_EQ(characters_of({scratch / "a", scratch / "b"}, log),
            CharTokenizer::from_text("\nxy\u6f22"));
}

}  // namespace
}  // namespace moe
