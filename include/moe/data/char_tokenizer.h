#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"

namespace moe {

inline constexpr std::size_t kCodePoints = 0x110000;

/// One symbol a Unicode code point; ids are their order among the sorted distinct code points.
class CharTokenizer {
 public:
  /// The vocabulary of a text: its sorted distinct code points. Throws DataError for invalid UTF-8.
  static CharTokenizer from_text(std::string_view utf8);
  /// Of the code points that are there, by their number.
  static CharTokenizer from_symbols(const std::vector<bool>& is_there);
  /// From tokenizer.json (Hugging Face's layout, docs/formats.md). Throws Error of `kind`.
  static CharTokenizer from_json(const Json& json, std::string_view where, ErrorKind kind);
  Json to_json() const;

  std::int64_t vocab_size() const { return static_cast<std::int64_t>(symbols_.size()); }
  /// Throws an Error of `unknown` naming the symbols outside the vocabulary with their code points.
  std::vector<std::int32_t> encode(std::string_view utf8, std::string_view where,
                                   ErrorKind unknown = ErrorKind::data) const;
  std::string decode(std::span<const std::int32_t> ids) const;
  /// UTF-8 of one symbol; the id must be in range.
  std::string symbol(std::int32_t id) const;
  /// The id where generation from nothing starts: the newline's, else 0.
  std::int32_t start_id() const;
  const std::vector<char32_t>& symbols() const { return symbols_; }
  friend bool operator==(const CharTokenizer&, const CharTokenizer&) = default;

 private:
  std::vector<char32_t> symbols_;  // sorted, distinct
};

}  // namespace moe
