#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/text_parts.h"
#include "moe/data/text_reader.h"
#include "moe/data/token_file.h"

namespace moe {

/// Some text of one file or of several, cut into groups of parts. Its parts point into its text: it
/// stays where it is.
struct SourceBatch {
  struct Group {
    std::size_t begin, end;  // of its parts
    std::size_t source;      // the file that they are of
  };
  std::string text;
  std::vector<TextPart> parts;
  std::vector<Group> groups;
  std::vector<std::string> encoded;  // the ids of each group

  void clear();
};

/// Reads files one after another, cleans them, and cuts them into batches.
class SourceBatches {
 public:
  /// `paths` and `tokenizer` must outlive it.
  SourceBatches(const std::vector<std::filesystem::path>& paths, const Tokenizer& tokenizer,
                std::size_t batch_bytes);

  /// Fills `batch`, which is clear, with what comes next; it stays without groups at the end, and
  /// where no text came that can be cut yet.
  void read(SourceBatch& batch);
  bool is_done() const { return is_done_; }

  std::uint64_t bytes_in_all() const { return bytes_in_all_; }
  std::uint64_t bytes_read() const { return bytes_read_; }
  std::uint64_t bytes_of_text() const { return bytes_of_text_; }
  /// What was read, once it is done; and what was mended.
  const std::vector<TokenSource>& sources() const { return sources_; }
  const std::vector<std::string>& notices() const { return notices_; }

 private:
  /// A stretch of a batch's text that is of one file.
  struct Stretch {
    std::size_t begin, source;
    bool is_end;  // of the file
  };
  void open_next();
  void end_file(bool has_text);
  std::vector<Stretch> fill(std::string& text);
  void cut(SourceBatch& batch, const Stretch& stretch, std::size_t end);

  const std::vector<std::filesystem::path>& paths_;
  PartCutter cutter_;
  std::size_t batch_bytes_;
  std::unique_ptr<TextReader> reader_;  // of the file that is being read
  FileStamp stamp_, settled_;           // of that file
  std::size_t at_ = 0;                  // which file is next
  bool is_done_ = false;
  bool has_text_ = false;   // the file that is being read
  bool separates_ = false;  // a separator comes before the next text
  bool is_inside_ = false;  // the next text goes on with a file
  std::string carried_;     // of the file that is being read: not cut yet
  std::uint64_t bytes_in_all_ = 0, bytes_read_ = 0, bytes_of_text_ = 0;
  bool merges_;  // nothing separates files: they are one text
  std::vector<TokenSource> sources_;
  std::vector<std::string> notices_;
};

}  // namespace moe
