#pragma once

#include <string>
#include <vector>

#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/data/token_file.h"
#include "moe/data/tokenizer.h"
#include "moe/train/run_texts.h"
#include "moe/train/trainer.h"

namespace moe {

/// What data.tokenizer asks for: the characters of the whole of data.path, byte-level BPE learned
/// from what is there to train on, or a file. Throws DataError if there is one single symbol: the
/// loss would be 0.
Tokenizer tokenizer_for(const RunTexts& texts, const RunConfig& config, Log& log);

/// Throws DataError naming the first text that is not the one that `saved` remembers. Names do not
/// count, nor do line ends and a byte-order mark.
void require_same_texts(const DataSums& now, const DataSums& saved, const RunConfig& config);

/// Tokens to train on and to validate on; split by position unless a validation text is named.
struct RunCorpus {
  HeldTokens train, val;
};

/// The texts of a run, as they are learned.
struct Material {
  Tokenizer tokenizer;
  RunCorpus corpus;
  DataSums sums;
  std::size_t text_bytes = 0;          // of the texts, while they were read
  std::vector<NgramKeys> ngrams = {};  // of the model's tables

  Vocabulary vocabulary() const { return {tokenizer.vocab_size(), ngrams}; }
  TextSize size() const;
};

/// The keys of the tables that a config asks for, from the text to train on. Throws ConfigError for
/// a table that would have no row.
std::vector<NgramKeys> ngrams_of(const RunConfig& config, std::int64_t symbols, TokenView train);

/// How texts become a run's material.
struct MaterialRequest {
  const RunConfig& config;
  Log& log;
  const TokenPlace* place = nullptr;    // nullptr: all is held
  const DataSums* must_be = nullptr;    // of the texts that the run has learned from so far
  ErrorKind unknown = ErrorKind::data;  // of the error for symbols that the vocabulary lacks
};

/// Encodes and splits. Throws DataError for texts that are too short, or are not those that they
/// must be. The keys of n-gram tables are left to be filled in.
Material make_material(RunTexts texts, const Tokenizer& tokenizer, const MaterialRequest& request);

/// The texts that a config names, with the tokenizer that it asks for.
Material read_material(const RunConfig& config, Log& log, const TokenPlace* place = nullptr);

}  // namespace moe
