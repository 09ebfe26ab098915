#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "moe/base/json.h"
#include "moe/data/bpe_tokenizer.h"
#include "moe/data/char_tokenizer.h"
#include "moe/data/token_view.h"
#include "moe/data/utf8_stream.h"

namespace moe {

enum class TokenizerKind { character, bpe };

/// How a text becomes ids.
struct EncodeOptions {
  SpecialText specials = SpecialText::ordinary;  // what "<|endoftext|>" in the text is
  int threads = 1;                               // the ids do not depend on it
  ErrorKind unknown = ErrorKind::data;           // of the error for symbols outside the vocabulary
};

/// A text becomes ids and ids become text: by characters or by byte-level BPE, behind one
/// interface. A value; either kind is one.
class Tokenizer {
 public:
  Tokenizer() = default;                                               // of no characters
  Tokenizer(CharTokenizer tokenizer) : held_(std::move(tokenizer)) {}  // NOLINT: either is one
  Tokenizer(BpeTokenizer tokenizer) : held_(std::move(tokenizer)) {}   // NOLINT: either is one
  /// Of the kind that the file tells: without merges and splitter it is one of characters. Throws
  /// Error of `kind`, beginning with `where`.
  static Tokenizer from_json(const Json& json, std::string_view where, ErrorKind kind);
  /// The tokenizer's file; CharTokenizer's and BpeTokenizer's own to_json.
  Json to_json() const;

  TokenizerKind kind() const;
  std::int64_t vocab_size() const;
  /// Throws DataError for invalid UTF-8, an Error of `unknown` for symbols outside the vocabulary,
  /// ResourceError where memory is short; all begin with `where`.
  std::vector<std::int32_t> encode(std::string_view utf8, std::string_view where,
                                   const EncodeOptions& options = {}) const;
  /// UTF-8; bytes that are none become U+FFFD. std::out_of_range for an id outside the vocabulary.
  std::string decode(std::span<const std::int32_t> ids,
                     SpecialText specials = SpecialText::token) const;
  /// The bytes of one id, which need not be whole characters. std::out_of_range as above.
  std::string symbol(std::int32_t id) const;
  /// Whether the id is a token that no ordinary text becomes. std::out_of_range as above.
  bool is_special(std::int32_t id) const;
  /// The id where generation from nothing starts.
  std::int32_t start_id() const;
  /// The id that ends a document, kEndOfText's; nullopt where there is none.
  std::optional<std::int32_t> end_id() const;
  /// The symbol for people: bytes that are no characters as \xe2.
  std::string shown_symbol(std::int32_t id) const;
  /// What only one kind has; nullptr where it is the other.
  const CharTokenizer* characters() const { return std::get_if<CharTokenizer>(&held_); }
  const BpeTokenizer* bpe() const { return std::get_if<BpeTokenizer>(&held_); }
  /// Whether both are of one kind and do the same.
  friend bool operator==(const Tokenizer&, const Tokenizer&) = default;

 private:
  std::variant<CharTokenizer, BpeTokenizer> held_;
};

/// Mean length of the targets of `tokens`, which are all but the first of at least two [bytes]. A
/// special token has none: it is no part of the text.
double bytes_per_target(const Tokenizer& tokenizer, TokenView tokens);

/// Decodes ids that come one by one and never shows a part of a character.
class TokenStream {
 public:
  /// `tokenizer` must outlive the stream.
  explicit TokenStream(const Tokenizer& tokenizer, SpecialText specials = SpecialText::token)
      : tokenizer_(&tokenizer), specials_(specials) {}
  /// The text that is complete by now. std::out_of_range for an id outside the vocabulary.
  std::string push(std::int32_t id);
  /// U+FFFD where the last character was never completed, else "".
  std::string finish() { return bytes_.finish(); }

 private:
  const Tokenizer* tokenizer_;
  SpecialText specials_;
  Utf8Stream bytes_;
};

/// How many bytes each id stands for, a special one its text's.
std::vector<std::size_t> bytes_of_ids(const Tokenizer& tokenizer);

/// Reads a tokenizer.json, or a tiktoken file, whose pattern must be GPT-2's. Throws Error of
/// `kind` for a file that is missing, damaged, or of something else.
Tokenizer read_tokenizer(const std::filesystem::path& path, ErrorKind kind);

}  // namespace moe
