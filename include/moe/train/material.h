#pragma once

#include <optional>
#include <string>

#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/data/corpus.h"
#include "moe/data/tokenizer.h"
#include "moe/train/trainer.h"

namespace moe {

/// What tells the texts of a run from others: the sha256 of data.path's, then of data.val_path's
/// where there is one, in one text.
struct DataSums {
  std::string files;  // of the bytes on disk; "" of a run that has learned from no text so far
  std::string texts;  // of the texts as they are learned (Text::text_sha256); "" in old checkpoints
};

/// The texts that a config names, as they are read.
struct RunTexts {
  Text text;
  std::optional<Text> val;

  DataSums sums() const;
};

/// Reads data.path and data.val_path, each once, with a notice of what was mended. Throws DataError
/// for what can not be read, or not be recorded so that a resume would find it.
RunTexts read_texts(const RunConfig& config, Log& log);

/// What data.tokenizer asks for: the characters of the whole of data.path, byte-level BPE learned
/// from what is there to train on, or a file. Throws DataError if there is one single symbol: the
/// loss would be 0.
Tokenizer tokenizer_for(const RunTexts& texts, const RunConfig& config, Log& log);

/// Throws DataError naming the first text that is not the one that `saved` remembers. Names do not
/// count, nor do line ends and a byte-order mark.
void require_same_texts(const RunTexts& texts, const DataSums& saved, const RunConfig& config);

/// The texts of a run, as they are learned.
struct Material {
  Tokenizer tokenizer;
  Corpus corpus;
  DataSums sums;
  std::size_t text_bytes = 0;          // of the texts, while they were read
  std::vector<NgramKeys> ngrams = {};  // of the model's tables

  Vocabulary vocabulary() const { return {tokenizer.vocab_size(), ngrams}; }
  TextSize size() const;
};

/// The keys of the tables that a config asks for, from the text to train on. Throws ConfigError for
/// a table that would have no row.
std::vector<NgramKeys> ngrams_of(const RunConfig& config, std::int64_t symbols,
                                 const Tokens& train);

/// Encodes and splits. Throws DataError for texts that are too short, and an Error of `unknown` for
/// symbols that the vocabulary lacks. The keys of n-gram tables are left to be filled in.
Material make_material(RunTexts texts, const Tokenizer& tokenizer, const RunConfig& config,
                       ErrorKind unknown = ErrorKind::data);

/// The texts that a config names, with the tokenizer that it asks for.
Material read_material(const RunConfig& config, Log& log);

}  // namespace moe
