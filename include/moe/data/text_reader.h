#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/file_reader.h"
#include "moe/base/sha256.h"

namespace moe {

/// Cleans a text that comes in blocks, as clean_text cleans the whole: however it is cut, what
/// comes out is the same text with the same sums and notices.
class TextCleaner {
 public:
  /// Messages begin with `where`.
  explicit TextCleaner(std::string where) : where_(std::move(where)) {}
  /// Appends to `out` what is certain by now: whole symbols. Throws DataError as clean_text does;
  /// the guess at another encoding is made from the last blocks.
  void push(std::string_view bytes, std::string& out) { take(bytes, out, /*is_last=*/false); }
  /// The rest. Afterwards there are the sums.
  void finish(std::string& out);

  const std::string& sha256() const { return sha256_; }            // of all bytes, as they came
  const std::string& text_sha256() const { return text_sha256_; }  // of all that went out
  std::vector<std::string> notices() const;

 private:
  void take(std::string_view bytes, std::string& out, bool is_last);
  void fold(std::string_view sound, std::string& out);

  std::string where_, held_;  // held: not yet decided upon
  std::uint64_t before_ = 0;  // bytes in front of these
  bool has_begun_ = false, had_mark_ = false, had_returns_ = false;
  std::uint64_t nul_bytes_ = 0;
  Sha256 bytes_sum_, text_sum_;
  std::string sha256_, text_sha256_;
};

inline constexpr std::size_t kTextBlock = std::size_t{1} << 20U;  // [bytes]

/// A text file, read and cleaned piece by piece; little of it is in memory at once.
class TextReader {
 public:
  /// Throws DataError as read_text does, but an empty file is none.
  explicit TextReader(const std::filesystem::path& path, std::size_t block_bytes = kTextBlock);
  /// Appends about a block of the text to `out`. False when all is there.
  bool append(std::string& out);

  std::uint64_t size() const { return file_.size(); }
  std::uint64_t bytes_read() const { return at_; }
  /// At the end: sums and notices.
  const TextCleaner& cleaner() const { return cleaner_; }

 private:
  FileReader file_;
  TextCleaner cleaner_;
  std::vector<char> block_;
  std::uint64_t at_ = 0;
  bool is_done_ = false;
};

}  // namespace moe
