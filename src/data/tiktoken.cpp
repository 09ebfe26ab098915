#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <unordered_map>

#include "moe/base/text.h"
#include "moe/data/bpe_tokenizer.h"

namespace moe {

namespace {

constexpr std::size_t kLongestToken = 512;  // [bytes] else a file could ask for hours of look-ups
constexpr std::string_view kLinesOf =
    "; a tiktoken file has lines of base64 and a rank: get it anew, or give a tokenizer.json";

constexpr auto kSixBits = [] {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::array<int, 256> values{};
  values.fill(-1);
  for (std::size_t i = 0; i < kDigits.size(); ++i)
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<int>(i);
  return values;
}();

/// Strictly: padded to fours, and no bits left over that are not zero.
std::optional<std::string> from_base64(std::string_view text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  unsigned bits = 0;
  int held = 0;
  for (const char digit : text.substr(0, text.size() - padding)) {
    const auto value = kSixBits[static_cast<unsigned char>(digit)];
    if (value < 0) return std::nullopt;
    bits = bits << 6U | static_cast<unsigned>(value);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    bytes += static_cast<char>(bits >> static_cast<unsigned>(held) & 0xFFU);
  }
  if ((bits & ((1U << static_cast<unsigned>(held)) - 1U)) != 0) return std::nullopt;
  return bytes;
}

using Ranks = std::unordered_map<std::string_view, std::int32_t>;

/// Every way in which two tokens make one: by the rank of what they make, then by theirs.
std::vector<BpeMerge> merges_of(const std::vector<std::string>& tokens, const Ranks& ranks) {
  std::vector<BpeMerge> merges;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    const auto first = merges.size();
    for (std::size_t cut = 1; cut < token.size(); ++cut) {
      const auto left = ranks.find(token.substr(0, cut));
      if (left == ranks.end()) continue;
      const auto right = ranks.find(token.substr(cut));
      if (right == ranks.end()) continue;
      merges.push_back({left->second, right->second, static_cast<std::int32_t>(id)});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
              [](const BpeMerge& a, const BpeMerge& b) {
                return a.left != b.left ? a.left < b.left : a.right < b.right;
              });
  }
  return merges;
}

class RankFile {
 public:
  RankFile(std::string_view where, ErrorKind kind) : where_(where), kind_(kind) {}
  std::vector<std::string> read(std::string_view text);
  [[noreturn]] void refuse(const std::string& what) const {
    throw_error(kind_, cat(where_, ": ", what, kLinesOf));
  }

 private:
  struct Line {
    std::string bytes;
    std::size_t rank, number;
  };
  Line parse(std::string_view line, std::size_t number) const;

  std::string_view where_;
  ErrorKind kind_;
};

RankFile::Line RankFile::parse(std::string_view line, std::size_t number) const {
  const auto at = cat("line ", number, ": ");
  const auto space = line.find(' ');
  if (space == std::string_view::npos)
    refuse(cat(at, "\"", printable(line), "\" is not base64 and a rank"));
  auto bytes = from_base64(line.substr(0, space));
  if (!bytes) refuse(cat(at, "\"", printable(line.substr(0, space)), "\" is not base64"));
  if (bytes->size() > kLongestToken)
    refuse(cat(at, "a token of ", bytes->size(), " bytes, more than ", kLongestToken));
  const auto digits = line.substr(space + 1);
  std::uint32_t rank = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
  if (error != std::errc() || end != digits.data() + digits.size() || rank > INT32_MAX)
    refuse(cat(at, "\"", printable(digits), "\" is not a rank"));
  return {std::move(*bytes), rank, number};
}

std::vector<std::string> RankFile::read(std::string_view text) {
  std::vector<Line> lines;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty()) lines.push_back(parse(line, number));
  }
  std::vector<std::string> tokens(lines.size());
  for (auto& [bytes, rank, number] : lines) {
    if (rank >= tokens.size())
      refuse(cat("line ", number, ": rank ", rank, ", but there are only ", tokens.size(),
                 " tokens: ranks have gaps"));
    if (!tokens[rank].empty()) refuse(cat("line ", number, ": rank ", rank, " stands there twice"));
    tokens[rank] = std::move(bytes);
  }
  return tokens;
}

}  // namespace

BpeTokenizer BpeTokenizer::from_tiktoken(std::string_view text, std::string_view where,
                                         ErrorKind kind, const std::vector<std::string>& specials) {
  RankFile file(where, kind);
  BpeVocabulary vocabulary;
  vocabulary.tokens = file.read(text);
  Ranks ranks;
  for (std::size_t id = 0; id < vocabulary.tokens.size(); ++id)
    ranks.emplace(vocabulary.tokens[id], static_cast<std::int32_t>(id));
  if (ranks.size() == vocabulary.tokens.size())  // else bpe_problem says so
    vocabulary.merges = merges_of(vocabulary.tokens, ranks);
  for (const auto& special : specials) {
    vocabulary.specials.push_back(static_cast<std::int32_t>(vocabulary.tokens.size()));
    vocabulary.tokens.push_back(special);
  }
  vocabulary.whole_chunks = true;
  if (const auto problem = bpe_problem(vocabulary); !problem.empty()) file.refuse(problem);
  return BpeTokenizer(std::move(vocabulary));
}

}  // namespace moe
