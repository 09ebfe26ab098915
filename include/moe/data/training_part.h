#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <vector>

#include "moe/base/log.h"
#include "moe/data/chunk_counts.h"
#include "moe/data/token_view.h"
#include "moe/data/tokenizer.h"

namespace moe {

// The part of a text to train on, where the text itself is not held.

/// How many of the tokens of a whole text are to train on, as encode_and_split divides it: by
/// characters the first floor(train_fraction * n), by byte-level BPE those up to training_end,
/// which is found in the bytes that ids stand for. Reads all ids once.
std::size_t training_tokens(TokenView tokens, const Tokenizer& tokenizer, double train_fraction);

/// The chunks that byte-level BPE is learned from: of texts one after another with <|endoftext|>
/// between them, up to training_end, or of all of them without a fraction. Read and cleaned piece
/// by piece; throws as prepare_tokens does.
ChunkCounts count_training_chunks(const std::vector<std::filesystem::path>& sources,
                                  std::optional<double> train_fraction, int threads, Log& log);

}  // namespace moe
