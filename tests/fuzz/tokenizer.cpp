// Tokenizers of others: tokenizer.json of either kind, and tiktoken files. What is taken for one
// encodes a text and decodes it again.
#include "moe/data/tokenizer.h"

#include <cstdlib>

#include "moe/base/text.h"
#include "moe/data/bpe_training.h"
#include "tests/fuzz/fuzz.h"

namespace moe::fuzz {

namespace {

constexpr std::string_view kText = "the cat's mat, the \u00fc\u6f22 12\n\n  the<|endoftext|>cat";

Tokenizer learned() {
  ChunkCounts counts;
  counts.add_text(kText, "text");
  return BpeTokenizer(train_bpe(counts, {.vocab_size = 270}));
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t word = 0;
    const auto count = std::min<std::size_t>(3, bytes.size() - at);
    for (std::size_t i = 0; i < 3; ++i)
      word = word << 8U | (i < count ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i)
      out += i <= count ? kDigits[word >> (18 - 6 * i) & 63U] : '=';
  }
  return out;
}

std::string tiktoken() {
  std::string out;
  const auto tokenizer = learned();
  std::int32_t rank = 0;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (!tokenizer.is_special(id)) out += cat(base64(tokenizer.symbol(id)), " ", rank++, "\n");
  return out;
}

void use(const Tokenizer& tokenizer) {
  const auto is_bpe = tokenizer.kind() == TokenizerKind::bpe;
  const auto ids = tokenizer.encode(kText, "text", {.specials = SpecialText::token});
  if (is_bpe && tokenizer.decode(ids) != kText) std::abort();
}

}  // namespace

std::vector<std::string> seeds() {
  const Tokenizer characters = CharTokenizer::from_text(kText);
  return {json_text(learned().to_json()), json_text(characters.to_json()), tiktoken()};
}

void read(std::string_view bytes) {
  constexpr std::string_view kWhere = "file";
  if (bytes.starts_with("{"))
    use(Tokenizer::from_json(parse_json(bytes, kWhere, ErrorKind::data, kTokenizerLimits), kWhere,
                             ErrorKind::data));
  else
    use(BpeTokenizer::from_tiktoken(bytes, kWhere, ErrorKind::data));
}

}  // namespace moe::fuzz
