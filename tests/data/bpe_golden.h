#pragma once

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"
#include "moe/base/sha256.h"
#include "moe/base/text.h"
#include "moe/data/bpe_tokenizer.h"
#include "moe/data/bpe_training.h"

namespace moe::test {

/// tests/golden/bpe.json: what Hugging Face's tokenizers says (tests/golden/write_bpe.py).
inline const Json& bpe_golden() {
  static const auto golden = [] {
    const auto* source = std::getenv("MAKEMOE_SOURCE_DIR");
    const auto folder = std::filesystem::path(source != nullptr ? source : ".");
    return read_json(folder / "tests" / "golden" / "bpe.json", ErrorKind::data);
  }();
  return golden;
}

/// The texts that a tokenizer was trained on there.
inline const Json& bpe_case(const std::string& name) {
  for (const auto& row : bpe_golden().at("trained"))
    if (row.at("name") == name) return row;
  throw std::runtime_error("no golden case " + name);
}

inline BpeVocabulary train(const std::string& text, std::int64_t vocab_size,
                           std::int64_t min_frequency = 0, int threads = 1) {
  ChunkCounts counts;
  counts.add_text(text, "text", threads);
  return train_bpe(counts, {.vocab_size = vocab_size, .min_frequency = min_frequency});
}

inline BpeTokenizer trained_on(const Json& row) {
  return BpeTokenizer(
      train(row.at("text"), row.at("vocab_size"), row.at("min_frequency").get<std::int64_t>()));
}

inline std::string to_base64(std::string_view bytes) {
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 3; ++i)
      bits = bits << 8U | (at + i < bytes.size() ? static_cast<unsigned char>(bytes[at + i]) : 0U);
    for (std::size_t i = 0; i < 4; ++i)
      text += at + i > bytes.size() ? '=' : kAlphabet[bits >> (18 - 6 * i) & 63U];
  }
  return text;
}

/// A tiktoken file of these tokens.
inline std::string rank_lines(const std::vector<std::string>& tokens) {
  std::string text;
  for (std::size_t rank = 0; rank < tokens.size(); ++rank)
    text += cat(to_base64(tokens[rank]), " ", rank, "\n");
  return text;
}

}  // namespace moe::test
