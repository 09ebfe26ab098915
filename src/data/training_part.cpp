#include "moe/data/training_part.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "data/text_parts.h"
#include "moe/base/error.h"
#include "moe/base/interrupt.h"
#include "moe/base/text.h"
#include "moe/data/corpus.h"
#include "moe/data/splitter.h"
#include "moe/data/text_reader.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr std::string_view kDocumentMark = kEndOfText;
constexpr std::size_t kLongestLookedAt = std::size_t{64} << 20U;  // [bytes]

/// Cleaned texts with marks between them, piece by piece.
class JoinedText {
 public:
  explicit JoinedText(const std::vector<std::filesystem::path>& sources) : sources_(sources) {}

  /// Appends a piece; false when all is there.
  bool append(std::string& out) {
    if (stop_signal() != 0) throw Interrupted(stop_signal());
    if (at_ == sources_.size()) return false;
    if (!reader_) {
      reader_ = std::make_unique<TextReader>(sources_[at_]);
      is_first_of_file_ = true;
    }
    piece_.clear();
    const bool more = reader_->append(piece_);
    if (!piece_.empty()) {
      if (is_first_of_file_ && has_text_) out += kDocumentMark;
      is_first_of_file_ = false;
      has_text_ = true;
      out += piece_;
    }
    if (!more) {
      reader_.reset();
      ++at_;
    }
    return at_ < sources_.size();
  }

 private:
  const std::vector<std::filesystem::path>& sources_;
  std::unique_ptr<TextReader> reader_;
  std::string piece_;
  std::size_t at_ = 0;
  bool has_text_ = false, is_first_of_file_ = true;
};

std::uint64_t joined_bytes(const std::vector<std::filesystem::path>& sources) {
  JoinedText text(sources);
  std::string piece;
  std::uint64_t bytes = 0;
  for (bool more = true; more; piece.clear()) {
    more = text.append(piece);
    bytes += piece.size();
  }
  return bytes;
}

/// The bytes of ids from `first` on: as many as make `bytes`, and whole symbols at the end. Whether
/// these are all that there are is told too.
std::string text_from(TokenView tokens, const Tokenizer& tokenizer, std::size_t first,
                      std::size_t bytes, bool& is_all) {
  std::string text;
  auto at = first;
  for (; at < tokens.size() && text.size() < bytes; ++at) text += tokenizer.symbol(tokens[at]);
  is_all = at == tokens.size();
  if (is_all) return text;
  const auto begins = [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; };
  while (!text.empty() && !begins(text.back())) text.pop_back();
  if (!text.empty()) text.pop_back();  // a symbol that may be cut
  return text;
}

/// The first id of the part to validate on: `first` begins at `begin`, at or before the byte from
/// which the end of the part to train on is looked for.
std::size_t end_behind(TokenView tokens, const Tokenizer& tokenizer, std::size_t first,
                       std::size_t from) {
  for (std::size_t window = std::size_t{1} << 16U;; window *= 4) {
    bool is_all = false;
    const auto text = text_from(tokens, tokenizer, first, window, is_all);
    const auto cut = find_cut(text, from);
    if (!is_all && cut + kDocumentMark.size() > text.size() && window < kLongestLookedAt) continue;
    auto left = out_of_mark(text, cut);
    for (; first < tokens.size() && left > 0; ++first)
      left -= std::min(left, tokenizer.symbol(tokens[first]).size());
    return first;
  }
}

}  // namespace

std::size_t training_tokens(TokenView tokens, const Tokenizer& tokenizer, double train_fraction) {
  if (tokenizer.kind() == TokenizerKind::character)
    return static_cast<std::size_t>(
        std::floor(train_fraction * static_cast<double>(tokens.size())));
  const auto sizes = bytes_of_ids(tokenizer);
  const auto size = [&](auto id) { return sizes[static_cast<std::size_t>(id)]; };
  return tokens.visit([&](const auto* ids) {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < tokens.size(); ++i) all += size(ids[i]);
    const auto wanted =
        static_cast<std::uint64_t>(std::floor(train_fraction * static_cast<double>(all)));
    // A little before it, since it may lie within a mark or a symbol.
    const auto before = wanted - std::min<std::uint64_t>(wanted, kDocumentMark.size());
    std::size_t first = 0;
    std::uint64_t begin = 0;
    while (first < tokens.size() && begin + size(ids[first]) <= before) begin += size(ids[first++]);
    return end_behind(tokens, tokenizer, first, static_cast<std::size_t>(wanted - begin));
  });
}

ChunkCounts count_training_chunks(const std::vector<std::filesystem::path>& sources,
                                  std::optional<double> train_fraction, int threads, Log& log) {
  constexpr std::size_t kAtOnce = std::size_t{16} << 20U;  // [bytes]
  ChunkCounts counts;
  const auto where = sources.front().string();
  const auto add = [&](std::string_view text) {
    counts.add_texts(documents_of(text), where, threads);
  };
  std::optional<std::uint64_t> wanted;
  if (train_fraction)
    wanted = static_cast<std::uint64_t>(
        std::floor(*train_fraction * static_cast<double>(joined_bytes(sources))));
  JoinedText text(sources);
  std::string held;
  std::uint64_t begin = 0;  // of what is held
  for (bool more = true; more;) {
    const auto enough = std::max(kAtOnce, 2 * held.size());
    while (more && held.size() < enough) more = text.append(held);
    if (wanted && begin > *wanted) return counts;
    if (wanted && begin + held.size() > *wanted) {
      const auto cut = find_cut(held, static_cast<std::size_t>(*wanted - begin));
      if (more && cut + kDocumentMark.size() > held.size() && held.size() < kLongestLookedAt)
        continue;
      add(std::string_view(held).substr(0, out_of_mark(held, cut)));
      return counts;
    }
    const auto sure = held.size() - (more ? std::min(kDocumentMark.size() + 4, held.size()) : 0);
    auto end = sure;  // to the beginning of a symbol
    while (end > 0 && end < held.size() && (static_cast<unsigned char>(held[end]) & 0xC0U) == 0x80U)
      --end;
    if (more) end = out_of_mark(held, last_cut(std::string_view(held).substr(0, end)));
    add(std::string_view(held).substr(0, end));
    held.erase(0, end);
    begin += end;
    if (held.size() > kLongestLookedAt)
      throw DataError(where +
                      ": has no place to cut it, such as a space behind a word; is it a "
                      "text?");
    log.live(cat("learning subwords: ", human_bytes(static_cast<double>(begin)), " counted"));
  }
  log.live("");
  return counts;
}

}  // namespace moe
