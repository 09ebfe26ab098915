#include "moe/exchange/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "exchange/gguf_values.h"
#include "moe/base/text.h"
#include "moe/data/byte_alphabet.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

/// ggml's kinds of tokens.
constexpr std::int32_t kNormalToken = 1, kControlToken = 3, kUnusedToken = 5;

const std::string kModel = "tokenizer.ggml.model", kPre = "tokenizer.ggml.pre",
                  kTokens = "tokenizer.ggml.tokens", kTypes = "tokenizer.ggml.token_type",
                  kMerges = "tokenizer.ggml.merges";

struct RwkvEscape {
  char symbol, letter;
};
constexpr std::array kRwkvEscapes{RwkvEscape{'\\', '\\'}, RwkvEscape{'\n', 'n'},
                                  RwkvEscape{'\t', 't'}, RwkvEscape{'\r', 'r'}};
constexpr std::string_view kHexDigits = "0123456789abcdef";

/// A symbol as "rwkv" has it. Control characters as numbers: llama.cpp ends a token at a NUL.
std::string rwkv_escaped(char32_t symbol) {
  for (const auto& escape : kRwkvEscapes)
    if (symbol == static_cast<unsigned char>(escape.symbol)) return {'\\', escape.letter};
  if (symbol < 0x20 || symbol == 0x7F)
    return {'\\', 'x', kHexDigits[symbol >> 4U], kHexDigits[symbol & 15U]};
  std::string out;
  append_utf8(out, symbol);
  return out;
}

/// The byte of an escape, of which `rest` has what stands behind the backslash; takes it off.
std::optional<char> take_rwkv_escape(std::string_view& rest) {
  if (rest.empty()) return std::nullopt;
  const char letter = rest.front();
  rest.remove_prefix(1);
  for (const auto& escape : kRwkvEscapes)
    if (letter == escape.letter) return escape.symbol;
  if (letter != 'x' || rest.size() < 2) return std::nullopt;
  const auto high = kHexDigits.find(rest[0]), low = kHexDigits.find(rest[1]);
  if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
  rest.remove_prefix(2);
  return static_cast<char>(high << 4U | low);
}

/// The one symbol of a token; nullopt for what is none.
std::optional<char32_t> rwkv_symbol(std::string_view token) {
  std::string bytes;
  while (!token.empty()) {
    const char first = token.front();
    token.remove_prefix(1);
    const auto byte = first == '\\' ? take_rwkv_escape(token) : first;
    if (!byte) return std::nullopt;
    bytes += *byte;
  }
  if (bytes.empty() || !is_utf8(bytes) || count_symbols(bytes) != 1) return std::nullopt;
  return decode_utf8(bytes).front();
}

void add_characters(const CharTokenizer& tokenizer, GgufKeys& keys) {
  std::vector<std::string> tokens;
  for (const auto symbol : tokenizer.symbols()) tokens.push_back(rwkv_escaped(symbol));
  keys.add(kModel, "rwkv");
  keys.add(kTypes, GgufList(std::vector<std::int32_t>(tokens.size(), kNormalToken)));
  keys.add(kTokens, GgufList(std::move(tokens)));
}

[[noreturn]] void refuse_bpe(const std::string& what) {
  throw ConfigError(cat("data.tokenizer: ", what));
}

/// Where a chunk that is a token is taken whole: whether the merges lead there too.
void require_merges_to_all_tokens(const BpeTokenizer& tokenizer) {
  auto vocabulary = tokenizer.vocabulary();
  if (!vocabulary.whole_chunks) return;
  vocabulary.whole_chunks = false;
  const BpeTokenizer by_merges(vocabulary);
  for (const auto& token : vocabulary.tokens)
    if (is_utf8(token) && tokenizer.encode(token, "") != by_merges.encode(token, ""))
      refuse_bpe(
          cat("the merges do not lead to the token \"", printable(token),
              "\", which llama.cpp would not find; train with a tokenizer that makemoe made"));
}

/// Which token ends a text.
std::int32_t end_of_text(const BpeTokenizer& tokenizer) {
  const auto& specials = tokenizer.vocabulary().specials;
  if (specials.empty())
    refuse_bpe(
        "there is no special token, and llama.cpp would take token 11 for the end of a text; train "
        "with a tokenizer that has one");
  const auto is_end = [&](auto id) { return tokenizer.bytes(id) == kEndOfText; };
  const auto found = std::ranges::find_if(specials, is_end);
  return found != specials.end() ? *found : specials.front();
}

void add_bpe(const BpeTokenizer& tokenizer, GgufKeys& keys) {
  require_merges_to_all_tokens(tokenizer);
  const auto end = static_cast<std::uint32_t>(end_of_text(tokenizer));
  const auto written = [&](std::int32_t id) {
    return tokenizer.is_special(id) ? tokenizer.bytes(id) : characters_of(tokenizer.bytes(id));
  };
  std::vector<std::string> tokens, merges;
  std::vector<std::int32_t> types;
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    tokens.push_back(written(id));
    types.push_back(tokenizer.is_special(id) ? kControlToken : kNormalToken);
  }
  for (const auto& merge : tokenizer.vocabulary().merges)
    merges.push_back(written(merge.left) + " " + written(merge.right));
  keys.add(kModel, "gpt2");
  keys.add(kPre, "gpt-2");
  keys.add(kTokens, GgufList(std::move(tokens)));
  keys.add(kTypes, GgufList(std::move(types)));
  keys.add(kMerges, GgufList(std::move(merges)));
  keys.add("tokenizer.ggml.bos_token_id", end);
  keys.add("tokenizer.ggml.eos_token_id", end);
}

/// The tokens of a file, and what kind each is of.
struct GgufTokens {
  const std::vector<std::string>& texts;
  std::vector<std::int64_t> types;
};

GgufTokens read_tokens(const GgufValues& values) {
  const auto* texts = values.required(values.texts(kTokens), kTokens);
  if (texts->empty()) values.refuse(kTokens, "is empty");
  auto types = values.wholes(kTypes).value_or(
      std::vector<std::int64_t>(texts->size(), std::int64_t{kNormalToken}));
  if (types.size() != texts->size())
    values.refuse(kTypes, cat("has ", types.size(), " values for ", texts->size(), " tokens"));
  return {*texts, std::move(types)};
}

Tokenizer read_characters(const GgufTokens& tokens, const GgufValues& values) {
  std::string all;
  char32_t last = 0;
  for (std::size_t id = 0; id < tokens.texts.size(); ++id) {
    const auto shown_token = cat("has the token \"", printable(tokens.texts[id]), "\", ");
    const auto symbol = rwkv_symbol(tokens.texts[id]);
    if (!symbol || tokens.types[id] != kNormalToken)
      values.refuse(kTokens, shown_token + "which is not one character");
    if (id > 0 && *symbol <= last)
      values.refuse(kTokens, shown_token + "which is out of order: makemoe has characters sorted");
    append_utf8(all, last = *symbol);
  }
  return CharTokenizer::from_text(all);
}

class GgufBpeReader {
 public:
  GgufBpeReader(const GgufTokens& tokens, const GgufValues& values)
      : tokens_(tokens), values_(values) {}

  Tokenizer read() {
    if (const auto pre = values_.text(kPre); pre != "gpt-2")
      values_.refuse(kPre, cat("is \"", printable(pre.value_or("")),
                               "\", and makemoe splits texts as \"gpt-2\" alone"));
    for (std::size_t id = 0; id < tokens_.texts.size(); ++id) read_token(id);
    const auto* merges = values_.required(values_.texts(kMerges), kMerges);
    for (const auto& merge : *merges) read_merge(merge);
    if (const auto problem = bpe_problem(vocabulary_); !problem.empty())
      values_.refuse(kTokens, "are no tokenizer: " + problem);
    return BpeTokenizer(std::move(vocabulary_));
  }

 private:
  void read_token(std::size_t id) {
    const auto& text = tokens_.texts[id];
    const auto type = tokens_.types[id];
    const auto refuse = [&](std::string_view what) {
      values_.refuse(kTokens, cat("has the token \"", printable(text), "\", ", what));
    };
    if (!ids_.emplace(text, static_cast<std::int32_t>(id)).second) refuse("twice");
    if (type == kControlToken || type == kUnusedToken) {
      vocabulary_.specials.push_back(static_cast<std::int32_t>(id));
      vocabulary_.tokens.push_back(text);
      return;
    }
    auto bytes = bytes_of(text);
    if (type != kNormalToken) refuse(cat("which is of kind ", type, ", neither text nor special"));
    if (!bytes) refuse("whose characters stand for no bytes");
    vocabulary_.tokens.push_back(std::move(*bytes));
  }

  void read_merge(const std::string& merge) {
    const auto refuse = [&](std::string_view what) {
      values_.refuse(kMerges, cat("has \"", printable(merge), "\", ", what));
    };
    const auto space = merge.find(' ');
    if (space == std::string::npos) refuse("which is not two tokens");
    const auto known = [&](const std::string& text) {
      const auto found = ids_.find(text);
      if (found == ids_.end()) refuse(cat("and \"", printable(text), "\" is no token"));
      return found->second;
    };
    const auto left = merge.substr(0, space), right = merge.substr(space + 1);
    vocabulary_.merges.push_back({known(left), known(right), known(left + right)});
  }

  const GgufTokens& tokens_;
  const GgufValues& values_;
  BpeVocabulary vocabulary_;
  std::unordered_map<std::string, std::int32_t> ids_;
};

}  // namespace

void add_gguf_tokenizer(const Tokenizer& tokenizer, GgufKeys& keys) {
  if (const auto* characters = tokenizer.characters())
    add_characters(*characters, keys);
  else
    add_bpe(*tokenizer.bpe(), keys);
  keys.add("tokenizer.ggml.add_bos_token", false);
}

Tokenizer read_gguf_tokenizer(const GgufKeys& keys, std::string_view where) {
  const GgufValues values(keys, where);
  const auto model = values.required(values.text(kModel), kModel);
  const auto tokens = read_tokens(values);
  if (model == "rwkv") return read_characters(tokens, values);
  if (model == "gpt2") return GgufBpeReader(tokens, values).read();
  values.refuse(kModel, cat("is \"", printable(*model),
                            "\", and makemoe has \"rwkv\" of characters and \"gpt2\" alone"));
}

}  // namespace moe
