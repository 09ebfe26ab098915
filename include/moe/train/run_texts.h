#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "moe/base/file.h"
#include "moe/base/log.h"
#include "moe/config/config.h"
#include "moe/data/corpus.h"
#include "moe/data/token_file.h"
#include "moe/data/tokenizer.h"

namespace moe {

/// What tells the texts of a run from others: the sha256 of data.path's, then of data.val_path's
/// where there is one, in one text; of several files joined_sums.
struct DataSums {
  std::string files;  // of the bytes on disk; "" of a run that has learned from no text so far
  std::string texts;  // of the texts as they are learned (Text::text_sha256); "" in old checkpoints
};

/// Where ids of texts are kept that are too large to be held.
struct TokenPlace {
  std::filesystem::path folder;
  FileLayer& files;
};

/// The texts that one key names.
struct RunText {
  enum class Kind { held, on_disk, token_file };

  std::string name;  // for messages
  std::vector<std::filesystem::path> sources;
  Kind kind = Kind::held;
  std::vector<Text> held = {};  // each source that is not empty; of the other kinds none

  /// One after another, with `separator` between them; what was held is gone.
  std::string joined(std::string_view separator);
  DataSums sums_of_held() const;
  std::size_t bytes_held() const;
};

/// Texts of so many bytes together are held; of more, the ids are mapped.
inline constexpr std::uint64_t kMostTextHeld = std::uint64_t{16} << 20U;
/// Whether a run leaves texts of so many bytes on the disk.
bool stay_on_disk(const DataConfig& data, std::uint64_t bytes);
/// What is held at once while ids are made of texts on the disk, as measured [bytes].
inline constexpr std::int64_t kMakingIds = std::int64_t{72} << 20U;

struct RunTexts {
  RunText text;
  std::optional<RunText> val;

  bool are_held() const {
    return text.kind == RunText::Kind::held && (!val || val->kind == RunText::Kind::held);
  }
  DataSums sums_of_held() const;
};

/// Reads one key's texts, but no token file. `flag` names them on the command line. Throws
/// DataError for what cannot be read.
RunText read_text_of(const TextNames& names, const char* flag, Log& log);

/// data.path and data.val_path, each read once, with a notice of what was mended. With a place for
/// ids they stay on the disk where they are large together, or where data.cache is set; a pipe
/// never does. Token files are never read. Throws DataError for what cannot be read, or not be
/// recorded so that a resume would find it.
RunTexts read_texts(const RunConfig& config, Log& log, const TokenPlace* place = nullptr);

/// Ids of one key's texts, and what tells these.
struct EncodedText {
  HeldTokens tokens;
  DataSums sums;
};
/// Encodes what is held (which is gone then), or finds, checks and maps the ids of what is on the
/// disk; where they are missing, of other texts or damaged, they are made anew in `place`. Throws
/// DataError for a token file that another tokenizer made, and an Error of `unknown` for symbols
/// that the tokenizer lacks.
EncodedText encode_text(RunText text, const Tokenizer& tokenizer, ErrorKind unknown, Log& log,
                        const TokenPlace* place);

/// What stands between two texts of a key: the tokenizer's <|endoftext|>, or nothing.
std::string_view separator_of(const Tokenizer& tokenizer);

}  // namespace moe
