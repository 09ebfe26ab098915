#pragma once

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "moe/base/json.h"
#include "moe/base/sha256.h"
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

}  // namespace moe::test
