#include "moe/data/char_tokenizer.h"

#include <algorithm>
#include <array>
#include <set>

#include "data/require_utf8.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

constexpr std::size_t kNamedSymbols = 5;  // offending symbols that an error lists

std::string named(char32_t symbol) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string digits;
  for (auto rest = symbol; rest != 0 || digits.size() < 4; rest >>= 4U)
    digits.insert(digits.begin(), kHex[rest & 15U]);
  std::string shown;
  append_utf8(shown, symbol);
  return symbol < 0x20 || symbol == 0x7F ? "U+" + digits : cat("'", shown, "' (U+", digits, ")");
}

template <class Symbols>
std::string listed(const Symbols& symbols) {
  std::vector<std::string> names;
  for (const auto symbol : symbols)
    if (names.size() < kNamedSymbols) names.push_back(named(symbol));
  return join(names, ", ") + (symbols.size() > kNamedSymbols ? " and others" : "");
}

[[noreturn]] void refuse_symbols(const std::set<char32_t>& unknown, std::string_view where,
                                 ErrorKind kind) {
  throw_error(kind, cat(where, ": ", listed(unknown), unknown.size() > 1 ? " are" : " is",
                        " not in the vocabulary; leave out what the model has never seen"));
}

}  // namespace

CharTokenizer CharTokenizer::from_text(std::string_view utf8) {
  require_utf8(utf8, "the text");
  std::vector<bool> is_there(kCodePoints, false);  // the whole text as symbols is not held
  while (!utf8.empty()) is_there[take_symbol(utf8)] = true;
  return from_symbols(is_there);
}

CharTokenizer CharTokenizer::from_symbols(const std::vector<bool>& is_there) {
  CharTokenizer tokenizer;
  for (std::size_t symbol = 0; symbol < is_there.size(); ++symbol)
    if (is_there[symbol]) tokenizer.symbols_.push_back(static_cast<char32_t>(symbol));
  return tokenizer;
}

CharTokenizer CharTokenizer::from_json(const Json& json, std::string_view where, ErrorKind kind) {
  const auto refuse = [&](const std::string& what) {
    throw_error(kind, cat(where, ": ", what, "; use a tokenizer.json that makemoe wrote"));
  };
  CharTokenizer tokenizer;
  const auto model = json.is_object() ? json.find("model") : json.end();
  if (!json.is_object() || model == json.end() || !model->is_object() ||
      !model->contains("vocab") || !model->at("vocab").is_object() || model->at("vocab").empty())
    refuse("no model.vocab object");
  if (model->contains("type") && model->at("type") != "BPE")
    refuse(cat("its model is ", shown(model->at("type")), ", and one of characters is \"BPE\""));
  if (model->contains("merges") && !model->at("merges").empty())
    refuse("has merges, which a character tokenizer has not");
  for (const auto& [text, id] : model->at("vocab").items()) {
    if (find_invalid_utf8(text) || decode_utf8(text).size() != 1)
      refuse(cat("\"", printable(text), "\" is not one symbol"));
    const auto expected = static_cast<std::int64_t>(tokenizer.symbols_.size());
    if (!id.is_number_integer() || id.get<std::int64_t>() != expected)
      refuse(cat("\"", printable(text), "\" has id ", printable(json_text(id)), " where ", expected,
                 " belongs"));
    const auto symbol = decode_utf8(text).front();
    if (!tokenizer.symbols_.empty() && symbol <= tokenizer.symbols_.back())
      refuse(cat("\"", printable(text), "\" is out of order"));
    tokenizer.symbols_.push_back(symbol);
  }
  return tokenizer;
}

Json CharTokenizer::to_json() const {
  Json vocab = Json::object();
  for (std::size_t id = 0; id < symbols_.size(); ++id) {
    std::string text;
    append_utf8(text, symbols_[id]);
    vocab[text] = id;
  }
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", Json::array()},
          {"normalizer", nullptr},
          {"pre_tokenizer", nullptr},
          {"post_processor", nullptr},
          {"decoder", {{"type", "Fuse"}}},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
}

std::vector<std::int32_t> CharTokenizer::encode(std::string_view utf8, std::string_view where,
                                                ErrorKind kind) const {
  require_utf8(utf8, where);
  const auto count = count_symbols(utf8);
  require_memory(static_cast<double>(count * sizeof(std::int32_t)),
                 cat(where, ": its ", count, " symbols need"), "give a shorter text");
  std::vector<std::int32_t> ids;
  ids.reserve(count);
  std::set<char32_t> unknown;
  std::array<std::int32_t, 128> ascii{};  // most text is ASCII: one look-up instead of a search
  ascii.fill(-1);
  for (std::size_t id = 0; id < symbols_.size() && symbols_[id] < ascii.size(); ++id)
    ascii[symbols_[id]] = static_cast<std::int32_t>(id);
  while (!utf8.empty()) {
    const auto symbol = take_symbol(utf8);
    if (symbol < ascii.size() && ascii[symbol] >= 0) {
      ids.push_back(ascii[symbol]);
      continue;
    }
    const auto found = std::lower_bound(symbols_.begin(), symbols_.end(), symbol);
    if (found == symbols_.end() || *found != symbol)
      unknown.insert(symbol);
    else
      ids.push_back(static_cast<std::int32_t>(found - symbols_.begin()));
  }
  if (!unknown.empty()) refuse_symbols(unknown, where, kind);
  return ids;
}

std::string CharTokenizer::decode(std::span<const std::int32_t> ids) const {
  std::string out;
  for (const auto id : ids) append_utf8(out, symbols_.at(static_cast<std::size_t>(id)));
  return out;
}

std::string CharTokenizer::symbol(std::int32_t id) const { return decode(std::span(&id, 1)); }

std::int32_t CharTokenizer::start_id() const {
  const auto newline = std::lower_bound(symbols_.begin(), symbols_.end(), U'\n');
  if (newline == symbols_.end() || *newline != U'\n') return 0;
  return static_cast<std::int32_t>(newline - symbols_.begin());
}

}  // namespace moe
