#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "moe/data/bpe_vocabulary.h"
#include "moe/data/chunk_counts.h"

namespace moe {

/// How large a vocabulary is to become, and what is in it from the start.
struct BpeRequest {
  std::int64_t vocab_size = 4096;  // [tokens] special ones and the 256 bytes among them
  std::int64_t min_frequency = 0;  // how often a pair must stand in the text to be merged
  std::vector<std::string> specials{kEndOfText};
};

/// Byte pair encoding (Sennrich et al. 2016) over the bytes of chunks (Radford et al. 2019): again
/// and again the most frequent pair of neighbours becomes a token. Ids are the special tokens, then
/// the bytes in the order of Hugging Face's alphabet, then the merges. Equal to the BpeTrainer of
/// Hugging Face's tokenizers in every id and merge, ties included (ADR 56). The vocabulary is
/// smaller than asked where no pair is frequent enough. Throws ConfigError for a vocabulary that
/// cannot hold what it must, or for special tokens that a text could become by merges; Interrupted
/// when a signal asks to stop.
BpeVocabulary train_bpe(const ChunkCounts& counts, const BpeRequest& request);

}  // namespace moe
