#include "data/text_parts.h"

#include <algorithm>

#include "moe/data/splitter.h"

namespace moe {

namespace {

bool continues_symbol(char c) { return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U; }

/// The text in pieces of whole symbols.
void append_pieces(std::string_view text, std::vector<TextPart>& parts) {
  while (!text.empty()) {
    auto end = std::min(kPieceOfWork, text.size());
    while (end < text.size() && continues_symbol(text[end])) ++end;
    parts.push_back({text.substr(0, end)});
    text.remove_prefix(end);
  }
}

}  // namespace

std::size_t last_cut(std::string_view text) {
  constexpr std::size_t kNear = 256;
  for (auto back = kNear;; back *= 16) {
    const auto from = text.size() - std::min(back, text.size());
    auto cut = find_cut(text, from);
    if (cut < text.size()) {
      for (auto next = cut; next < text.size(); next = find_cut(text, next)) cut = next;
      return cut;
    }
    if (from == 0) return 0;
  }
}

std::size_t out_of_mark(std::string_view utf8, std::size_t at) {
  constexpr std::string_view kMark = kEndOfText;
  const auto from = at - std::min(at, kMark.size() - 1);
  const auto found = utf8.substr(from, 2 * kMark.size()).find(kMark);
  return found != std::string_view::npos && from + found < at ? from + found + kMark.size() : at;
}

std::vector<TextPart> cut_on(const std::vector<TextPart>& parts) {
  std::vector<TextPart> pieces;
  for (const auto& part : parts) {
    if (part.special >= 0)
      pieces.push_back(part);
    else
      for (const auto piece : cut_into_pieces(part.text, kPieceOfWork)) pieces.push_back({piece});
  }
  return pieces;
}

std::vector<std::size_t> group_ends(const std::vector<TextPart>& parts) {
  std::vector<std::size_t> ends;
  std::size_t bytes = 0;
  for (std::size_t part = 0; part < parts.size(); ++part) {
    bytes += parts[part].text.size();
    if (bytes < kPieceOfWork && part + 1 < parts.size()) continue;
    ends.push_back(part + 1);
    bytes = 0;
  }
  return ends;
}

void append_part(BpeEncoder& encoder, const TextPart& part, std::vector<std::int32_t>& ids) {
  if (part.special >= 0)
    ids.push_back(part.special);
  else
    encoder.append(part.text, ids);
}

PartCutter::PartCutter(const Tokenizer& tokenizer) {
  if (tokenizer.bpe() == nullptr) return;
  tables_ = &tokenizer.bpe()->tables();
  const auto& vocabulary = tables_->vocabulary;
  for (const auto id : vocabulary.specials)
    longest_special_ =
        std::max(longest_special_, vocabulary.tokens[static_cast<std::size_t>(id)].size());
}

std::optional<TextPart> PartCutter::separator() const {
  if (tables_ == nullptr) return std::nullopt;
  for (const auto id : tables_->vocabulary.specials) {
    const auto& bytes = tables_->vocabulary.tokens[static_cast<std::size_t>(id)];
    if (bytes == kEndOfText) return TextPart{bytes, id};
  }
  return std::nullopt;
}

std::size_t PartCutter::certain_end(const std::vector<TextPart>& parts,
                                    std::string_view text) const {
  // What begins from here on may be the beginning of a special token, or of a longer one.
  auto limit = text.size() - std::min(longest_special_ - 1, text.size());
  while (limit > 0 && limit < text.size() && continues_symbol(text[limit])) --limit;
  const auto begin_of = [&](const TextPart& part) {
    return static_cast<std::size_t>(part.text.data() - text.data());
  };
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    const auto begin = begin_of(*part);
    if (begin >= limit) continue;
    const auto end = begin + part->text.size();
    if (part->special >= 0) return end;
    if (const auto cut = last_cut(text.substr(begin, std::min(end, limit) - begin)); cut > 0)
      return begin + cut;
    if (begin > 0) return begin;  // behind a special token
  }
  return 0;
}

std::size_t PartCutter::cut(std::string_view text, bool is_end,
                            std::vector<TextPart>& parts) const {
  if (tables_ == nullptr) {
    append_pieces(text, parts);
    return text.size();
  }
  auto found = tables_->parts(text);
  const auto end = is_end ? text.size() : certain_end(found, text);
  for (auto& part : found) {
    const auto begin = static_cast<std::size_t>(part.text.data() - text.data());
    if (begin >= end) break;
    part.text = part.text.substr(0, end - begin);
    for (const auto& piece : cut_on({part})) parts.push_back(piece);
  }
  return end;
}

}  // namespace moe
