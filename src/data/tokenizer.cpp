#include "moe/data/tokenizer.h"

#include <algorithm>

#include "data/foreign.h"
#include "moe/base/file.h"
#include "moe/base/text.h"

namespace moe {

namespace {

/// Whether a file is meant as one of characters: nothing in it merges or splits.
bool is_of_characters(const Json& json) {
  const auto is_empty = [](const Json& object, const char* key) {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() || (found->is_array() && found->empty());
  };
  if (!json.is_object() || !is_empty(json, "pre_tokenizer")) return false;
  const auto model = json.find("model");
  return model != json.end() && model->is_object() && is_empty(*model, "merges");
}

}  // namespace

Tokenizer Tokenizer::from_json(const Json& json, std::string_view where, ErrorKind kind) {
  if (is_of_characters(json)) return CharTokenizer::from_json(json, where, kind);
  return BpeTokenizer::from_json(json, where, kind);
}

Json Tokenizer::to_json() const {
  return std::visit([](const auto& tokenizer) { return tokenizer.to_json(); }, held_);
}

TokenizerKind Tokenizer::kind() const {
  return characters() != nullptr ? TokenizerKind::character : TokenizerKind::bpe;
}

std::int64_t Tokenizer::vocab_size() const {
  return std::visit([](const auto& tokenizer) { return tokenizer.vocab_size(); }, held_);
}

std::vector<std::int32_t> Tokenizer::encode(std::string_view utf8, std::string_view where,
                                            const EncodeOptions& options) const {
  if (const auto* by_character = characters())
    return by_character->encode(utf8, where, options.unknown);
  return bpe()->encode(utf8, where, options.specials, options.threads);
}

std::string Tokenizer::decode(std::span<const std::int32_t> ids, SpecialText specials) const {
  if (const auto* by_character = characters()) return by_character->decode(ids);
  return bpe()->decode(ids, specials);
}

std::string Tokenizer::symbol(std::int32_t id) const {
  if (const auto* by_character = characters()) return by_character->symbol(id);
  return bpe()->bytes(id);
}

bool Tokenizer::is_special(std::int32_t id) const {
  if (const auto* by_character = characters()) {
    (void)by_character->symbols().at(static_cast<std::size_t>(id));
    return false;
  }
  return bpe()->is_special(id);
}

std::int32_t Tokenizer::start_id() const {
  return std::visit([](const auto& tokenizer) { return tokenizer.start_id(); }, held_);
}

std::optional<std::int32_t> Tokenizer::end_id() const {
  if (characters() != nullptr) return std::nullopt;
  const auto& vocabulary = bpe()->vocabulary();
  const auto& ids = vocabulary.specials;
  const auto found = std::ranges::find_if(ids, [&](std::int32_t id) {
    return vocabulary.tokens[static_cast<std::size_t>(id)] == kEndOfText;
  });
  return found == ids.end() ? std::nullopt : std::optional(*found);
}

std::string Tokenizer::shown_symbol(std::int32_t id) const {
  auto bytes = symbol(id);
  return is_utf8(bytes) ? bytes : printable(bytes, 4 * bytes.size(), Quotes::kept);
}

std::vector<std::size_t> bytes_of_ids(const Tokenizer& tokenizer) {
  std::vector<std::size_t> sizes;
  sizes.reserve(static_cast<std::size_t>(tokenizer.vocab_size()));
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    sizes.push_back(tokenizer.symbol(id).size());
  return sizes;
}

double bytes_per_target(const Tokenizer& tokenizer, TokenView tokens) {
  auto sizes = bytes_of_ids(tokenizer);
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id)
    if (tokenizer.is_special(id)) sizes[static_cast<std::size_t>(id)] = 0;
  std::size_t bytes = 0;
  tokens.visit([&](const auto* ids) {
    for (std::size_t at = 1; at < tokens.size(); ++at)
      bytes += sizes[static_cast<std::size_t>(ids[at])];
  });
  return static_cast<double>(bytes) / static_cast<double>(tokens.size() - 1);
}

std::string TokenStream::push(std::int32_t id) {
  if (specials_ == SpecialText::ordinary && tokenizer_->is_special(id)) return "";
  return bytes_.push(tokenizer_->symbol(id));
}

Tokenizer read_tokenizer(const std::filesystem::path& path, ErrorKind kind) {
  const auto bytes = read_file(path, kind, kTokenizerLimits.max_bytes);
  const auto where = path.string();
  if (const auto foreign = foreign_kind(bytes); !foreign.empty())
    throw_error(kind, cat(where, ": ", foreign));
  const auto first = bytes.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) throw_error(kind, where + ": is empty; give a tokenizer.json");
  constexpr std::string_view kJsonBegins = "{[\"\xEF";  // U+FEFF too, of which parse_json tells
  if (kJsonBegins.find(bytes[first]) != std::string_view::npos)
    return Tokenizer::from_json(parse_json(bytes, where, kind, kTokenizerLimits), where, kind);
  return BpeTokenizer::from_tiktoken(bytes, where, kind);
}

}  // namespace moe
