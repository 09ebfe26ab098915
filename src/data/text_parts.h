#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

#include "data/bpe_tables.h"
#include "moe/data/bpe_encoder.h"
#include "moe/data/tokenizer.h"

namespace moe {

inline constexpr std::size_t kPieceOfWork = std::size_t{1}
                                            << 16U;  // [bytes] for a worker at a time

/// The last place before the end at which the text is cut whatever stands around it, 0 for none.
/// Looked for near the end first: one is mostly there.
std::size_t last_cut(std::string_view text);

/// The end of the "<|endoftext|>" that `at` lies within, else `at`.
std::size_t out_of_mark(std::string_view utf8, std::size_t at);

/// The parts cut on, so that several threads have something to do.
std::vector<TextPart> cut_on(const std::vector<TextPart>& parts);

/// Where groups of parts end that are a worker's share at a time.
std::vector<std::size_t> group_ends(const std::vector<TextPart>& parts);

void append_part(BpeEncoder& encoder, const TextPart& part, std::vector<std::int32_t>& ids);

/// Cuts a text that comes in blocks into parts with ids of their own: those of the parts, one after
/// another, are those of the whole text, in which special tokens are tokens.
class PartCutter {
 public:
  /// `tokenizer` must outlive it.
  explicit PartCutter(const Tokenizer& tokenizer);
  /// Appends the parts of `text` up to the last place at which any text would be cut, whatever
  /// follows; all of it where `is_end`. Returns that place. `text` is of whole symbols.
  std::size_t cut(std::string_view text, bool is_end, std::vector<TextPart>& parts) const;
  /// What separates documents; nullopt for characters, and where the tokenizer has no such token.
  std::optional<TextPart> separator() const;

 private:
  std::size_t certain_end(const std::vector<TextPart>& parts, std::string_view text) const;

  const BpeTables* tables_ = nullptr;  // nullptr: characters
  std::size_t longest_special_ = 1;    // [bytes]
};

}  // namespace moe
