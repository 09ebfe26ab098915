#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace moe {

/// What GPT-2's splitter tells apart: \p{L}, \p{N}, \s, and all else.
enum class SplitClass : std::uint8_t { other, letter, number, space };

/// Of any code point; what is beyond Unicode is `other`. The tables say how they were made
/// (src/data/split_ranges.cpp).
SplitClass split_class(char32_t symbol);

/// Cuts a text into chunks as GPT-2 does, by the pattern
///   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
/// (Radford et al. 2019), scanned by hand: linear in the length of any text. The chunks one after
/// another are the text.
class ChunkReader {
 public:
  /// `utf8` is well-formed (checked by the caller) and outlives the chunks.
  explicit ChunkReader(std::string_view utf8);
  bool at_end() const { return at_ == end_; }
  /// The next chunk; not at the end.
  std::string_view next();

 private:
  const char* at_;
  const char* end_;
  const SplitClass* classes_;  // of the code points that have a class of their own
};

/// The first place after `from` at which a chunk ends whatever stands before and behind, so that
/// both sides may be cut apart from each other; the text's size where there is none. It may lie
/// within the text of a special token. `utf8` is well-formed; `from` may lie within a symbol.
std::size_t find_cut(std::string_view utf8, std::size_t from);

/// `utf8` in pieces of at least `bytes` (the last may be shorter), cut by find_cut: the chunks of
/// the pieces, one after another, are the chunks of the text.
std::vector<std::string_view> cut_into_pieces(std::string_view utf8, std::size_t bytes);

}  // namespace moe
