#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/file_writer.h"
#include "moe/base/sha256.h"
#include "moe/data/sources.h"
#include "moe/data/token_view.h"
#include "moe/data/tokenizer.h"

namespace moe {

/// A text that ids were made of.
struct TokenSource {
  std::string path;         // as it was named, UTF-8
  std::uint64_t bytes = 0;  // on disk
  std::string sha256;       // of these
  std::string text_sha256;  // of the text as it is learned (Text::text_sha256)
  FileStamp stamp;          // of the file as it was read; all 0 where that may not tell a change
  friend bool operator==(const TokenSource&, const TokenSource&) = default;
};

/// What the header of a token file says (docs/formats.md).
struct TokenFileInfo {
  std::string tokenizer;  // tokenizer_sum of the one that made the ids
  std::int64_t vocab_size = 0;
  std::uint64_t count = 0;  // ids
  std::string data_sha256;  // of the bytes of the ids
  std::vector<TokenSource> sources;

  std::string files_sum() const;  // joined_sums of the sources' sha256
  std::string texts_sum() const;  // joined_sums of their text_sha256
  friend bool operator==(const TokenFileInfo&, const TokenFileInfo&) = default;
};

/// Whether a regular file begins as a token file does.
bool is_token_file(const std::filesystem::path& path);

/// The sha256 of what a tokenizer.json of it says: equal where the ids of every text are.
std::string tokenizer_sum(const Tokenizer& tokenizer);

/// Bytes of an id in the file: 2 where the vocabulary allows it, else 4.
std::size_t id_width(std::int64_t vocab_size);

/// Ids of a text in a file that is mapped, not loaded: pages come and go as they are read. Copies
/// share the mapping. The file must not be shortened while it is open (written anew it may be).
class TokenFile {
 public:
  /// Throws DataError, beginning with the path, for what is missing, no token file, of a newer
  /// version, cut short or longer than its header says, damaged (header or ids), or holds an id
  /// beyond its vocabulary. Reads all of the file once.
  static TokenFile open(const std::filesystem::path& path);
  /// The header alone, checked as above, and the file's size; the ids are not looked at.
  static TokenFileInfo read_header(const std::filesystem::path& path);

  const TokenFileInfo& info() const { return info_; }
  TokenView tokens() const;

 private:
  class Mapping;
  TokenFileInfo info_;
  std::shared_ptr<const Mapping> mapping_;
};

/// Ids with what holds them: a vector, or a mapped file. Copies share it.
class HeldTokens {
 public:
  HeldTokens() = default;
  HeldTokens(Tokens tokens);  // NOLINT: a vector is one
  explicit HeldTokens(const TokenFile& file);

  operator TokenView() const { return view_; }  // NOLINT: for as long as this or a copy lives
  std::size_t size() const { return view_.size(); }
  HeldTokens part(std::size_t begin, std::size_t count) const;
  /// Of anonymous memory.
  std::size_t bytes_held() const { return bytes_held_; }

 private:
  std::shared_ptr<const void> holder_;
  TokenView view_;
  std::size_t bytes_held_ = 0;
};

/// Writes a token file piece by piece. Until `finish` there is nothing of that name (FileWriter),
/// and what an ended process leaves has no header.
class TokenFileWriter {
 public:
  /// `sources` are the paths that the header is going to name. Throws DataError where they need a
  /// header of more than 64 MB.
  TokenFileWriter(const std::filesystem::path& path, std::span<const std::filesystem::path> sources,
                  std::int64_t vocab_size, FileLayer& files);

  /// The bytes of some ids as the file has them: little-endian, id_width each.
  static std::string encoded(std::span<const std::int32_t> ids, std::size_t width);
  void append(std::string_view encoded_ids);
  std::uint64_t count() const { return bytes_ / width_; }
  /// Sets the number of ids and their sum. Returns the whole of the header.
  TokenFileInfo finish(std::string tokenizer, std::vector<TokenSource> sources);

 private:
  std::int64_t vocab_size_;
  std::size_t width_, header_bytes_;
  FileWriter file_;
  Sha256 sum_;
  std::uint64_t bytes_ = 0;
};

/// The stamp of a file to be read now; all 0 where it was changed within the last two seconds, so
/// that a change right after might bear the same time.
FileStamp settled_stamp(const std::filesystem::path& path);

/// Why these ids are not those that `sources` would become by the tokenizer of this sum, "" where
/// they are: "PATH has changed". A source whose stamp is another is read, and what decides is its
/// sha256. Throws DataError for one that cannot be read.
std::string outdated(const TokenFileInfo& info, std::string_view tokenizer,
                     std::span<const std::filesystem::path> sources);

}  // namespace moe
