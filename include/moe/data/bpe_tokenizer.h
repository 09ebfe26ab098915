#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "moe/base/json.h"
#include "moe/data/bpe_vocabulary.h"

namespace moe {

struct BpeTables;

/// What the text of a special token is, where it stands in a text or in ids: a text like any other,
/// or the token. As a text it is encoded letter by letter, and left out of what is decoded.
enum class SpecialText { ordinary, token };

/// What a tokenizer.json may weigh [bytes]; those of the largest vocabularies in use have 20 MB.
inline constexpr JsonLimits kTokenizerLimits{.max_bytes = std::size_t{32} << 20U, .max_depth = 64};

/// Byte-level BPE with GPT-2's splitter: any text is some ids, and ids are bytes. A value whose
/// copies share their tables, which never change: threads may use one tokenizer at once.
class BpeTokenizer {
 public:
  /// Throws std::logic_error for a vocabulary with a bpe_problem.
  explicit BpeTokenizer(BpeVocabulary vocabulary);
  /// From Hugging Face's tokenizer.json (docs/formats.md), of ours or of others: merges as texts or
  /// as pairs. Throws Error of `kind`, beginning with `where`, for what is damaged, and for what
  /// this class does not do (another splitter, a normalizer, dropout, ...), by its name.
  static BpeTokenizer from_json(const Json& json, std::string_view where, ErrorKind kind);
  /// From the lines of a tiktoken file, base64 of a token's bytes and its rank, which is its id.
  /// The pattern that goes with it must be GPT-2's; the file does not say. `specials` follow the
  /// ranks. Every pair whose bytes are a token is merged, as tiktoken does. Throws Error of `kind`.
  static BpeTokenizer from_tiktoken(std::string_view text, std::string_view where, ErrorKind kind,
                                    const std::vector<std::string>& specials = {kEndOfText});
  /// What Hugging Face's tokenizers writes for the same tokenizer, to the byte (at an indent of 2).
  Json to_json() const;

  const BpeVocabulary& vocabulary() const;
  /// For what cuts texts in this room.
  const BpeTables& tables() const { return *tables_; }
  std::int64_t vocab_size() const;

  /// Throws DataError, beginning with `where`, for invalid UTF-8; ResourceError where memory is
  /// short. The ids are the same for any number of threads.
  std::vector<std::int32_t> encode(std::string_view utf8, std::string_view where,
                                   SpecialText specials = SpecialText::ordinary,
                                   int threads = 1) const;
  /// The bytes of the ids as UTF-8; what is none becomes U+FFFD (Utf8Stream). std::out_of_range for
  /// an id outside the vocabulary.
  std::string decode(std::span<const std::int32_t> ids,
                     SpecialText specials = SpecialText::token) const;
  /// The bytes of one token, which may begin or end within a character. std::out_of_range as above.
  const std::string& bytes(std::int32_t id) const;
  bool is_special(std::int32_t id) const;
  /// The id where generation from nothing starts: kEndOfText's, else the newline's.
  std::int32_t start_id() const;
  friend bool operator==(const BpeTokenizer& a, const BpeTokenizer& b) {
    return a.tables_ == b.tables_ || a.vocabulary() == b.vocabulary();
  }

 private:
  friend class BpeEncoder;
  std::shared_ptr<const BpeTables> tables_;
};

}  // namespace moe
