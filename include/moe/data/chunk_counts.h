#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moe {

/// How often each chunk of GPT-2's splitter stands in some texts: all that training BPE asks of
/// them. Takes about 40 bytes and its own for each distinct chunk.
class ChunkCounts {
 public:
  /// Adds the chunks of a text, or of a part of one that begins and ends where chunks do
  /// (find_cut). The counts are the same for any number of threads. Throws DataError, beginning
  /// with `where`, for invalid UTF-8; nothing is counted then.
  void add_text(std::string_view utf8, std::string_view where, int threads = 1) {
    add_texts({&utf8, 1}, where, threads);
  }
  /// The same of several documents, across whose bounds no chunk goes. The error is of the first
  /// that is invalid, with the byte within it.
  void add_texts(std::span<const std::string_view> texts, std::string_view where, int threads = 1);
  void add_chunk(std::string_view chunk, std::int64_t count);

  /// Distinct chunks, in no particular order.
  std::size_t size() const { return entries_.size(); }
  std::string_view chunk(std::size_t index) const {
    return std::string_view(bytes_).substr(entries_[index].begin, entries_[index].size);
  }
  std::int64_t count(std::size_t index) const { return entries_[index].count; }

 private:
  struct Entry {
    std::size_t begin, size;  // in bytes_
    std::int64_t count;
  };
  void grow();

  std::string bytes_;  // of all chunks, one after another
  std::vector<Entry> entries_;
  std::vector<std::uint64_t> slots_;  // upper half of the hash, then entry + 1; 0: free
};

}  // namespace moe
