#pragma once

#include <string>

#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/data/corpus.h"
#include "moe/data/tokenizer.h"
#include "moe/train/trainer.h"

namespace moe {

/// The text of a run, as it is learned.
struct Material {
  CharTokenizer tokenizer;
  Corpus corpus;
  std::string sha256;          // of the text's file
  std::size_t text_bytes = 0;  // the most that were read at once

  TextSize size() const;
};

/// Reads data.path (and data.val_path). The vocabulary is that of the whole text. Throws DataError.
Material read_material(const RunConfig& config, Log& log);

}  // namespace moe
