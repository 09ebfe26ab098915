#include "moe/exchange/gguf_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moe/base/error.h"
#include "moe/data/bpe_training.h"
#include "tests/base/scratch.h"

namespace moe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Texts = std::vector<std::string>;
using Numbers = std::vector<std::int32_t>;

GgufKeys keys_of_tokenizer(const Tokenizer& tokenizer) {
  GgufKeys keys;
  add_gguf_tokenizer(tokenizer, keys);
  return keys;
}

const Texts& texts_of(const GgufKeys& keys, const std::string& key) {
  return std::get<Texts>(std::get<GgufList>(*keys.find(key)));
}

BpeTokenizer trained_bpe(std::int64_t size = 300) {
  ChunkCounts counts;
  counts.add_text("the lamp and the keeper's lamp, the sea; the other sea\n\tété 漢字 漢字", "text",
                  1);
  return BpeTokenizer(train_bpe(counts, {.vocab_size = size, .min_frequency = 0}));
}

TEST(GgufTokenizer, CharactersStandAsRwkvEscapesThem) {
  const auto tokenizer =
      CharTokenizer::from_text(std::string("\0\t\n\r\x1b \"'a\\\x7f", 11) + "é漢🌊");
  const auto keys = keys_of_tokenizer(tokenizer);
  EXPECT_EQ(*keys.find("tokenizer.ggml.model"), GgufValue("rwkv"));
  EXPECT_THAT(texts_of(keys, "tokenizer.ggml.tokens"),
              ElementsAre("\\x00", "\\t", "\\n", "\\r", "\\x1b", " ", "\"", "'", "\\\\", "a",
                          "\\x7f", "é", "漢", "🌊"));
  EXPECT_EQ(read_gguf_tokenizer(keys, "f"), Tokenizer(tokenizer));
}

TEST(GgufTokenizer, BpeIsReadAsItWasWritten) {
  const auto tokenizer = trained_bpe();
  const auto keys = keys_of_tokenizer(tokenizer);
  EXPECT_EQ(*keys.find("tokenizer.ggml.model"), GgufValue("gpt2"));
  EXPECT_EQ(*keys.find("tokenizer.ggml.pre"), GgufValue("gpt-2"));
  EXPECT_EQ(*keys.find("tokenizer.ggml.eos_token_id"), GgufValue(std::uint32_t{0}));
  EXPECT_EQ(texts_of(keys, "tokenizer.ggml.tokens")[0], "<|endoftext|>");
  const auto& types =
      std::get<Numbers>(std::get<GgufList>(*keys.find("tokenizer.ggml.token_type")));
  EXPECT_EQ(types[0], 3);
  EXPECT_EQ(types[1], 1);
  EXPECT_THAT(texts_of(keys, "tokenizer.ggml.merges"), ::testing::Contains("Ġ lam"));
  EXPECT_EQ(read_gguf_tokenizer(keys, "f"), Tokenizer(tokenizer));
}

TEST(GgufTokenizer, BpeWithoutASpecialTokenIsRefusedSinceToken11WouldEndTexts) {
  auto vocabulary = trained_bpe().vocabulary();
  vocabulary.tokens.erase(vocabulary.tokens.begin());
  vocabulary.specials.clear();
  for (auto& merge : vocabulary.merges) {
    --merge.left;
    --merge.right;
    --merge.result;
  }
  const BpeTokenizer tokenizer(vocabulary);
  EXPECT_THAT(test::message_of<ConfigError>([&] { keys_of_tokenizer(tokenizer); }),
              HasSubstr("token 11"));
}

TEST(GgufTokenizer, WholeChunksAreWrittenWhereTheMergesLeadToThemAlone) {
  auto vocabulary = trained_bpe().vocabulary();
  vocabulary.whole_chunks = true;
  EXPECT_NO_THROW(keys_of_tokenizer(BpeTokenizer(vocabulary)));
  vocabulary.tokens.emplace_back("zzz");
  EXPECT_THAT(test::message_of<ConfigError>([&] { keys_of_tokenizer(BpeTokenizer(vocabulary)); }),
              HasSubstr("\"zzz\""));
}

struct HostileTokenizer {
  const char* what;
  std::string model, pre;
  Texts tokens;
  Numbers types;
  Texts merges;
  const char* says;
};

/// Of BPE: all bytes, what follows them, and the merges.
HostileTokenizer hostile_bpe(const char* what, const Texts& more, Numbers more_types, Texts merges,
                             const char* says) {
  auto keys = keys_of_tokenizer(trained_bpe(257));
  auto tokens = texts_of(keys, "tokenizer.ggml.tokens");
  auto types = std::get<Numbers>(std::get<GgufList>(*keys.find("tokenizer.ggml.token_type")));
  tokens.insert(tokens.end(), more.begin(), more.end());
  types.insert(types.end(), more_types.begin(), more_types.end());
  return {what, "gpt2", "gpt-2", tokens, types, std::move(merges), says};
}

std::vector<HostileTokenizer> hostile_tokenizers() {
  return {{"no kind", "", "", {"a"}, {1}, {}, "tokenizer.ggml.model"},
          {"another kind", "llama", "", {"a"}, {1}, {}, "\"llama\""},
          {"no tokens", "rwkv", "", {}, {}, {}, "is empty"},
          {"fewer types", "rwkv", "", {"a", "b"}, {1}, {}, "1 values for 2"},
          {"a symbol of two", "rwkv", "", {"a", "bc"}, {1, 1}, {}, "\"bc\""},
          {"an empty symbol", "rwkv", "", {"", "b"}, {1, 1}, {}, "not one character"},
          {"out of order", "rwkv", "", {"b", "a"}, {1, 1}, {}, "out of order"},
          {"a symbol twice", "rwkv", "", {"a", "a"}, {1, 1}, {}, "out of order"},
          {"an escape that ends", "rwkv", "", {"\\"}, {1}, {}, "not one character"},
          {"an escape of half a byte", "rwkv", "", {"\\x1"}, {1}, {}, "not one character"},
          {"an escape that is none", "rwkv", "", {"\\q"}, {1}, {}, "not one character"},
          {"escapes that are not UTF-8", "rwkv", "", {"\\xff"}, {1}, {}, "not one character"},
          {"a special symbol", "rwkv", "", {"a"}, {3}, {}, "not one character"},
          {"another splitter", "gpt2", "llama-bpe", {"a"}, {1}, {}, "\"llama-bpe\""},
          {"few bytes", "gpt2", "gpt-2", {"a", "b"}, {1, 1}, {}, "are no tokenizer"},
          hostile_bpe("a token twice", {"a"}, {1}, {}, "twice"),
          hostile_bpe("a token of no bytes", {"漢"}, {1}, {}, "stand for no bytes"),
          hostile_bpe("a token of a kind that cuts texts", {"ab"}, {4}, {}, "kind 4"),
          hostile_bpe("a merge of one", {}, {}, {"ab"}, "not two tokens"),
          hostile_bpe("a merge of nothing", {}, {}, {" a"}, "is no token"),
          hostile_bpe("a merge of an unknown token", {}, {}, {"a bc"}, "\"bc\" is no token"),
          hostile_bpe("a merge to an unknown token", {}, {}, {"a b"}, "\"ab\" is no token"),
          hostile_bpe("a merge twice", {"ab"}, {1}, {"a b", "a b"}, "are no tokenizer"),
          hostile_bpe("a merge of a special token", {"a<|endoftext|>"}, {1}, {"a <|endoftext|>"},
                      "are no tokenizer")};
}

TEST(GgufTokenizer, EveryHostileTokenizerIsRefusedWithTheFile) {
  for (const auto& one : hostile_tokenizers()) {
    GgufKeys keys;
    if (!one.model.empty()) keys.add("tokenizer.ggml.model", one.model);
    keys.add("tokenizer.ggml.pre", one.pre);
    keys.add("tokenizer.ggml.tokens", GgufList(one.tokens));
    keys.add("tokenizer.ggml.token_type", GgufList(one.types));
    keys.add("tokenizer.ggml.merges", GgufList(one.merges));
    const auto message =
        test::message_of<CheckpointError>([&] { read_gguf_tokenizer(keys, "w.gguf"); });
    EXPECT_THAT(message, ::testing::StartsWith("w.gguf: ")) << one.what;
    EXPECT_THAT(message, HasSubstr(one.says)) << one.what;
  }
}

TEST(GgufTokenizer, KeysOfOtherTypesAreRefused) {
  GgufKeys keys;
  keys.add("tokenizer.ggml.model", "rwkv");
  keys.add("tokenizer.ggml.tokens", GgufList(Numbers{1, 2}));
  EXPECT_THROW(read_gguf_tokenizer(keys, "f"), CheckpointError);
}

}  // namespace
}  // namespace moe
