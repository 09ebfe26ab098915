#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "moe/data/token_view.h"
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

/// Train and validation tokens; split by position unless a validation text is named.
struct Corpus {
  Tokens train, val;
};

/// The parts of a text that "<|endoftext|>" separates; empty ones are left out.
std::vector<std::string_view> documents_of(std::string_view utf8);

/// How a text becomes tokens to train on and tokens to validate on.
struct CorpusSplit {
  double train_fraction;
  std::int64_t block_size;
  EncodeOptions encoding = {.specials = SpecialText::token};
};

/// By characters as split_by_position does it. By byte-level BPE the text is cut before it is
/// encoded, at training_end. Throws DataError as split_by_position, and what encoding throws.
Corpus encode_and_split(std::string utf8, const Tokenizer& tokenizer, const CorpusSplit& request,
                        std::string_view where);

/// Where the part of a text to train on ends: behind the first floor(train_fraction * size) bytes,
/// at the next place where any text may be cut (find_cut) and that lies within no "<|endoftext|>".
std::size_t training_end(std::string_view utf8, double train_fraction);

/// train is the first floor(train_fraction * n) tokens. Throws DataError when a split is shorter
/// than block_size + 1, naming `where` and the minimum.
Corpus split_by_position(Tokens tokens, double train_fraction, std::int64_t block_size,
                         std::string_view where);
/// Throws DataError where one of the parts is shorter than block_size + 1.
void require_both_parts(std::int64_t train, std::int64_t val, const CorpusSplit& request,
                        std::string_view where);

}  // namespace moe
