#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "moe/base/log.h"
#include "moe/data/token_file.h"
#include "moe/data/tokenizer.h"

namespace moe {

/// What ids are to be made of, and how.
struct PrepareRequest {
  std::vector<std::filesystem::path> sources;  // in the order of find_sources
  const Tokenizer* tokenizer = nullptr;        // must outlive the work
  int threads = 1;                             // the ids do not depend on it
  ErrorKind unknown = ErrorKind::data;         // of the error for symbols outside the vocabulary
  std::size_t batch_bytes = std::size_t{8}
                            << 20U;  // of text at a time; the ids do not depend on it
};

/// Makes the token file `out` of texts, which are read, cleaned as by clean_text, and encoded piece
/// by piece: about 50 MB and 8 MB a thread, however long they are. Their ids follow one another:
/// - by byte-level BPE, with the token <|endoftext|> between two files, and wherever it stands in a
///   text; as if all were one file where the tokenizer has no such token. Empty files are left out,
///   with a notice.
/// - by characters, as if all were one file.
/// Shows progress and warns of what was mended. Throws DataError for texts that cannot be read, are
/// all empty, change while they are read, or have 64 MB without a place to cut them; Interrupted
/// once a signal asks to stop. Whatever is thrown, there is no file then.
TokenFileInfo prepare_tokens(const PrepareRequest& request, const std::filesystem::path& out,
                             FileLayer& files, Log& log);

/// The characters of texts, which are read and cleaned piece by piece. Throws as above.
CharTokenizer characters_of(const std::vector<std::filesystem::path>& sources, Log& log);

}  // namespace moe
