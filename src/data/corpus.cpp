#include "moe/data/corpus.h"

#include <algorithm>
#include <cmath>

#include "data/foreign.h"
#include "data/text_notices.h"
#include "data/text_parts.h"
#include "moe/base/file.h"
#include "moe/base/sha256.h"
#include "moe/base/system.h"
#include "moe/base/text.h"
#include "moe/data/splitter.h"
#include "moe/data/utf8.h"

namespace moe {

namespace {

/// CRLF and lone CR become LF, as Python's text mode folds them. Says whether anything changed.
bool fold_line_ends(std::string& text) {
  if (text.find('\r') == std::string::npos) return false;
  std::size_t kept = 0;  // in place: a copy would be as much memory again
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r')
      text[kept++] = text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      text[kept++] = '\n';
  }
  text.resize(kept);
  return true;
}

}  // namespace

std::vector<std::string> text_notices(bool had_mark, bool had_returns, std::uint64_t nul_bytes) {
  std::vector<std::string> out;
  if (had_mark) out.emplace_back("the byte-order mark was left out");
  if (had_returns) out.emplace_back("CR line ends were folded to LF");
  if (nul_bytes > 0)
    out.push_back(cat(nul_bytes, " NUL bytes are learned as symbols; is it a text?"));
  return out;
}

Text clean_text(std::string bytes, std::string_view where) {
  Text text;
  text.utf8 = std::move(bytes);
  text.sha256 = sha256_hex(text.utf8);
  if (const auto kind = foreign_kind(text.utf8); !kind.empty())
    throw DataError(cat(where, ": ", kind));
  if (const auto bad = find_invalid_utf8(text.utf8))
    throw DataError(cat(where, ": ", describe_invalid_utf8(text.utf8, *bad)));
  const bool had_mark = text.utf8.starts_with("\xEF\xBB\xBF");
  if (had_mark) text.utf8.erase(0, 3);
  const bool had_returns = fold_line_ends(text.utf8);
  text.notices = text_notices(had_mark, had_returns,
                              static_cast<std::uint64_t>(std::ranges::count(text.utf8, '\0')));
  text.text_sha256 = text.notices.empty() ? text.sha256 : sha256_hex(text.utf8);
  return text;
}

namespace {

/// Before a byte is read. What the text has as symbols is known only then; it is a quarter of its
/// bytes at least, each an id of four bytes.
void require_memory_for(const std::filesystem::path& path) {
  std::error_code error;  // what cannot be read is the reader's to say, a pipe has no size
  if (!fs::is_regular_file(path, error)) return;
  const auto bytes = static_cast<double>(fs::file_size(path, error));
  if (!error)
    require_memory(2 * bytes, cat(path.string(), ": its ", human_bytes(bytes), " need"),
                   "give a shorter text");
}

}  // namespace

Text read_text(const std::filesystem::path& path) {
  require_memory_for(path);
  auto text = clean_text(read_file(path, ErrorKind::data), path.string());
  if (text.utf8.empty()) throw DataError(cat(path.string(), ": is empty; give it some text"));
  return text;
}

void require_both_parts(std::int64_t train, std::int64_t val, const CorpusSplit& request,
                        std::string_view where) {
  const auto least = request.block_size + 1;
  if (train >= least && val >= least) return;
  const auto share = std::min(request.train_fraction, 1 - request.train_fraction);
  const auto needed = std::ceil(static_cast<double>(least) / share) + 1;
  constexpr double kLongest = 1e15;  // beyond it no text is: the fraction is the trouble
  throw DataError(cat(
      where, ": the text has ", train + val, " symbols, ", train, " to train on and ", val,
      " to validate on; each part needs model.block_size + 1 = ", least, "; ",
      needed < kLongest
          ? cat("give at least about ", std::llround(needed), " symbols or lower model.block_size")
          : "bring data.train_fraction nearer to 0.9"));
}

std::vector<std::string_view> documents_of(std::string_view utf8) {
  constexpr std::string_view kMark = kEndOfText;
  std::vector<std::string_view> documents;
  while (!utf8.empty()) {
    const auto end = std::min(utf8.find(kMark), utf8.size());
    if (end > 0) documents.push_back(utf8.substr(0, end));
    utf8.remove_prefix(std::min(utf8.size(), end + kMark.size()));
  }
  return documents;
}

std::size_t training_end(std::string_view utf8, double train_fraction) {
  const auto bytes = std::floor(train_fraction * static_cast<double>(utf8.size()));
  return out_of_mark(utf8, find_cut(utf8, static_cast<std::size_t>(bytes)));
}

Corpus encode_and_split(std::string utf8, const Tokenizer& tokenizer, const CorpusSplit& request,
                        std::string_view where) {
  if (tokenizer.kind() == TokenizerKind::character) {
    auto tokens = tokenizer.encode(utf8, where, request.encoding);
    utf8 = {};  // not to be held together with what follows: the peak of memory
    return split_by_position(std::move(tokens), request.train_fraction, request.block_size, where);
  }
  const std::string_view text = utf8;
  const auto end = training_end(text, request.train_fraction);
  Corpus corpus{tokenizer.encode(text.substr(0, end), where, request.encoding),
                tokenizer.encode(text.substr(end), where, request.encoding)};
  const auto count = [](const Tokens& tokens) { return static_cast<std::int64_t>(tokens.size()); };
  require_both_parts(count(corpus.train), count(corpus.val), request, where);
  return corpus;
}

Corpus split_by_position(Tokens tokens, double train_fraction, std::int64_t block_size,
                         std::string_view where) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  const auto train = static_cast<std::int64_t>(std::floor(train_fraction * static_cast<double>(n)));
  require_both_parts(train, n - train, {train_fraction, block_size}, where);
  Tokens val(tokens.begin() + train, tokens.end());
  tokens.resize(static_cast<std::size_t>(train));
  return {std::move(tokens), std::move(val)};
}

}  // namespace moe
