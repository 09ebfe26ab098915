#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "moe/data/tokenizer.h"

namespace moe {

/// A text as it is used: valid UTF-8, no byte-order mark, LF line ends.
struct Text {
  std::string utf8;
  std::string sha256;                // of the file's bytes as they lie on disk
  std::string text_sha256;           // of `utf8`: the same whatever the line ends in the file
  std::vector<std::string> notices;  // what was stripped or folded
};

/// Strips and folds. Throws DataError beginning with `where`: files of another kind or
/// encoding, which are named, and invalid UTF-8 (with the byte offset).
Text clean_text(std::string bytes, std::string_view where);
/// The same of a file; one that is missing or empty is a DataError too.
Text read_text(const std::filesystem::path& path);

using Tokens = std::vector<std::int32_t>;

/// Train and validation tokens; split by position unless a validation text is named.
struct Corpus {
  Tokens train, val;
};

/// train is the first floor(train_fraction * n) tokens. Throws DataError when a split is shorter
/// than block_size + 1, naming `where` and the minimum.
Corpus split_by_position(Tokens tokens, double train_fraction, std::int64_t block_size,
                         std::string_view where);

}  // namespace moe
